// The real server, with a certificate from an authority.

import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { X509Certificate } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startServer } from "../server.mjs";
import { freePorts } from "./pebble.mjs";

/** A place for a server and what it keeps, until the test ends. */
export async function site(t) {
  const [port] = await freePorts(1);
  const storage = mkdtempSync(join(tmpdir(), "everwire-acme-"));
  const running = [];
  t.after(async () => {
    await Promise.all(running.map((server) => server.stop("SIGKILL")));
    rmSync(storage, { recursive: true });
  });
  return {
    /** Where it listens. */
    port,
    /**
     * Starts the server with further settings of `[acme]`, in a mode of TLS, on a clock that is so many days ahead, with
     * files of so many KiB at most, and with further variables.
     */
    async start(authority, { domains, acme = {}, tls = "both", daysAhead = 0, fileKib = 0, variables = {} }) {
      const settings = { domains, storage, challenge: "http-01", directory: authority.directory, ...acme };
      const lines = Object.entries(settings).map(([name, value]) => `${name} = ${JSON.stringify(value)}`);
      const config = `[tls]\nmode = "${tls}"\n[outbound]\nca_file = ${JSON.stringify(authority.caFile)}\n[acme]\n${lines.join("\n")}\n`;
      const clock = daysAhead ? { LD_PRELOAD: fakeClock(), FAKETIME: `+${daysAhead}d`, FAKETIME_DONT_FAKE_MONOTONIC: "1" } : {};
      const env = { ...clock, ...variables };
      // What is written beyond the limit fails, as on a disk that is full, without a disk of its own.
      const through = fileKib ? ["sh", "-c", `trap "" XFSZ; ulimit -f ${fileKib * 2}; exec "$@"`, "sh"] : [];
      const server = await startServer({ config, dev: false, listen: `127.0.0.1:${port}`, env, through });
      running.push(server);
      return {
        ...server,
        /** In clear text, which `both` takes too. */
        url: `http://${server.host}`,
        /** Resolves with a metric once it is more than 0. */
        metric: (name) => metric(server.host, name),
        /** The line of the log with this message, once it is there. */
        logged: (message) => logged(server, message),
      };
    },
    /** What is kept under a name, such as `certificate.pem`. */
    kept: (name) => readFileSync(path(storage, name), "utf8"),
    /** Whether it is kept. */
    has: (name) => existsSync(path(storage, name)),
    /** The same, or `other` if nothing is kept. */
    keptOr: (name, other) => (readdirSync(storage).length > 0 && existsSync(path(storage, name)) ? readFileSync(path(storage, name), "utf8") : other),
    /** The names of all that is kept. */
    files: () => readdirSync(path(storage, "")).sort(),
    /** Where it is kept. */
    path: (name) => path(storage, name),
    /** The certificate that is kept. */
    certificate: () => new X509Certificate(readFileSync(path(storage, "certificate.pem"))),
    storage,
  };
}

function path(storage, name) {
  const [folder] = readdirSync(storage);
  return join(storage, folder, name);
}

function fakeClock() {
  const roots = readdirSync("/usr/lib").map((name) => `/usr/lib/${name}/faketime/libfaketime.so.1`);
  return roots.find(existsSync) ?? "/usr/lib/faketime/libfaketime.so.1";
}

async function metric(host, name) {
  for (;;) {
    const text = await (await fetch(`http://${host}/metrics`)).text();
    const line = text.split("\n").find((line) => line.startsWith(`everwire_${name} `));
    if (Number(line?.split(" ")[1]) > 0) return Number(line.split(" ")[1]);
    await new Promise((passed) => setTimeout(passed, 20));
  }
}

async function logged(server, message) {
  for (;;) {
    for (const line of server.output().split("\n")) {
      const record = line.startsWith("{") ? JSON.parse(line) : undefined;
      if (record?.fields.message.includes(message)) return { level: record.level, ...record.fields };
    }
    await new Promise((passed) => setTimeout(passed, 20));
  }
}
