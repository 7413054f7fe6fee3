// Debian's Pebble, an ACME server that truly looks whether names lead to whoever asks for a certificate, on free loopback
// ports. It refuses one nonce in twenty, and forgets all accounts when it ends.

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createHttpsServer, get } from "node:https";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const START_MS_MAX = 10_000;
const DAY_S = 24 * 60 * 60;

/** Name and key of the account elsewhere that an authority knows which asks for one. */
export const EXTERNAL = { kid: "kid-1", hmac: "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W" };

/**
 * An authority until the test ends, not running yet. All names lead to 127.0.0.1, where it looks at `port`; those below
 * `elsewhere.example` lead to 127.0.0.2, where nobody is, and `blocked.example` is on its list of what it never issues.
 */
export async function authority(t, { port, external = false }) {
  const folder = mkdtempSync(join(tmpdir(), "everwire-pebble-"));
  const running = [];
  t.after(async () => {
    await Promise.all(running.map(end));
    rmSync(folder, { recursive: true });
  });
  makeCertificate(folder);
  const [acme, management, dns, dnsManagement] = await freePorts(4);
  const config = {
    pebble: {
      listenAddress: `127.0.0.1:${acme}`,
      managementListenAddress: `127.0.0.1:${management}`,
      certificate: join(folder, "own.pem"),
      privateKey: join(folder, "own.key"),
      httpPort: port,
      tlsPort: port,
      externalAccountBindingRequired: external,
      externalAccountMACKeys: { [EXTERNAL.kid]: EXTERNAL.hmac },
      domainBlocklist: ["blocked.example"],
      certificateValidityPeriod: 90 * DAY_S,
    },
  };
  writeFileSync(join(folder, "pebble.json"), JSON.stringify(config));

  const names = run("pebble-challtestsrv", [
    ...["-dns01", `127.0.0.1:${dns}`, "-management", `127.0.0.1:${dnsManagement}`],
    ...["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""],
  ]);
  running.push(names);
  await names.listens(dnsManagement);
  const lead = { host: "a.elsewhere.example", addresses: ["127.0.0.2"] };
  await fetch(`http://127.0.0.1:${dnsManagement}/add-a`, { method: "POST", body: JSON.stringify(lead) });

  let pebble;
  return {
    /** Its address, for `acme.directory`. */
    directory: `https://127.0.0.1:${acme}/dir`,
    /** What its own certificate is from, for `outbound.ca_file`. */
    caFile: join(folder, "ca.pem"),
    async start() {
      // Validations begin at once, where a real authority's take their time.
      const env = { ...process.env, PEBBLE_VA_NOSLEEP: "1" };
      pebble = run("pebble", ["-config", join(folder, "pebble.json"), "-dnsserver", `127.0.0.1:${dns}`], { env });
      running.push(pebble);
      await pebble.listens(acme);
      await pebble.listens(management);
    },
    /**
     * A directory of the same authority with some addresses changed: `override` gets its entries and the address at which
     * `answer` answers. Gives its own address.
     */
    front: (override, answer) => front(t, { directory: `https://127.0.0.1:${acme}/dir`, folder, override, answer }),
    /** Ends it, with all that it knows. */
    stop: () => end(pebble),
    /** All that it said. */
    output: () => pebble.output(),
    /** The root of what it issues, as PEM; another one after each start. */
    root: () => fetchText(`https://127.0.0.1:${management}/roots/0`, readFileSync(join(folder, "ca.pem"))),
  };
}

async function front(t, { directory, folder, override, answer }) {
  const [ca, key, cert] = ["ca.pem", "own.key", "own.pem"].map((name) => readFileSync(join(folder, name)));
  const server = createHttpsServer({ key, cert }, async (request, response) => {
    if (request.url !== "/dir") return answer(request, response);
    const entries = JSON.parse(await fetchText(directory, ca));
    response.end(JSON.stringify({ ...entries, ...override(`https://127.0.0.1:${server.address().port}`) }));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  return `https://127.0.0.1:${server.address().port}/dir`;
}

/** Free ports of the loopback interface, each another one. */
export async function freePorts(count) {
  const servers = [];
  for (let n = 0; n < count; n += 1) {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    servers.push(server);
  }
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((closed) => server.close(closed))));
  return ports;
}

function makeCertificate(folder) {
  const openssl = (...args) => execFileSync("openssl", args, { cwd: folder, stdio: "pipe" });
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650"];
  openssl("req", "-x509", ...key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority's own authority");
  openssl("req", "-x509", ...key, "-keyout", "own.key", "-out", "own.pem", "-subj", "/CN=authority", "-CA", "ca.pem",
    "-CAkey", "ca.key", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE");
}

function run(program, args, options = {}) {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => (output += text));
  const kill = () => child.kill("SIGKILL");
  process.on("exit", kill);
  child.on("exit", () => process.off("exit", kill));
  return {
    child,
    output: () => output,
    async listens(port) {
      const until = Date.now() + START_MS_MAX;
      while (!(await isOpen(port))) {
        if (child.exitCode !== null || Date.now() > until) throw new Error(`${program} did not start:\n${output}`);
        await new Promise((passed) => setTimeout(passed, 10));
      }
    },
  };
}

async function end({ child }) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGTERM");
  await once(child, "exit");
}

function isOpen(port) {
  return new Promise((done) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("connect", () => done(true)).on("error", () => done(false));
    socket.on("connect", () => socket.destroy());
  });
}

function fetchText(url, ca) {
  return new Promise((done, failed) => {
    const request = get(url, { ca }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (part) => (text += part)).on("end", () => done(text));
    });
    request.on("error", failed);
  });
}
