// Starts the real server on a free loopback port, for the outside tests written in JavaScript.

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const START_MS_MAX = 10_000;
const STOP_MS_MAX = 10_000;

// The test runner ends a file that takes too long with a signal; without this, what it started would stay.
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));

/**
 * Runs the server until `stop()`.
 *
 * `config` is the text of a configuration file. With `dev`, the default, everything is open to everybody.
 * `listen` is `127.0.0.1:0` unless a test starts a second server where the first one was. `env` are further variables.
 * `through` is a command that becomes the server, whose words follow it.
 */
export async function startServer({ config = "", dev = true, listen = "127.0.0.1:0", env = {}, through = [] } = {}) {
  const folder = mkdtempSync(join(tmpdir(), "everwire-"));
  const args = ["serve", ...(dev ? ["--dev"] : []), "--listen", listen];
  if (config) {
    writeFileSync(join(folder, "everwire.toml"), config);
    args.push("--config", join(folder, "everwire.toml"));
  }

  // Under TLS it makes a certificate, which is kept there.
  const environment = { ...process.env, XDG_STATE_HOME: folder, ...env };
  const [program, ...words] = [...through, binary(), ...args];
  const child = spawn(program, words, { stdio: ["ignore", "pipe", "pipe"], env: environment });
  // A test runner that breaks off leaves no server behind.
  const kill = () => child.kill("SIGKILL");
  process.on("exit", kill);
  const ended = new Promise((done) => {
    child.on("error", (error) => done({ error }));
    child.on("close", (code, signal) => done({ code, signal }));
  });
  ended.then(() => {
    process.off("exit", kill);
    rmSync(folder, { recursive: true, force: true });
  });

  let output = "";
  const url = await new Promise((found, failed) => {
    const fail = (why) => {
      kill();
      failed(new Error(`the server did not start (${why}); \`everwire ${args.join(" ")}\` said:\n${output}`));
    };
    const timer = setTimeout(() => fail(`nothing after ${START_MS_MAX} ms`), START_MS_MAX);
    const onData = (chunk) => {
      output += chunk;
      const address = /listening on (https?:\/\/[^\s/]+)/.exec(output);
      if (address) {
        clearTimeout(timer);
        found(address[1]);
      }
    };
    child.stdout.setEncoding("utf8").on("data", onData);
    child.stderr.setEncoding("utf8").on("data", onData);
    ended.then(({ error, code, signal }) => {
      clearTimeout(timer);
      fail(error?.message ?? `ended with ${code ?? signal}`);
    });
  });

  return {
    /** `http://127.0.0.1:PORT`, or `https` under TLS, without a slash at its end. */
    url,
    /** `ws://127.0.0.1:PORT`, or `wss`. */
    ws: url.replace("http", "ws"),
    /** `127.0.0.1:PORT`. */
    host: new URL(url).host,
    /** The file of the certificate that it has made under TLS. */
    certificate: join(folder, "everwire", "localhost.pem"),
    /** All that the server has printed. */
    output: () => output,
    /** Asks the server to end, as an operator would, and gives its exit code or the signal that killed it. */
    async stop(signal = "SIGTERM") {
      child.kill(signal);
      const timer = setTimeout(kill, STOP_MS_MAX);
      const end = await ended;
      clearTimeout(timer);
      return end.code ?? end.signal;
    },
  };
}

/** The path of the binary that is tested. */
export function binary() {
  const path = resolve(process.env.EVERWIRE_BIN ?? join(ROOT, "target/debug/everwire"));
  if (!existsSync(path)) {
    throw new Error(`no server at ${path}; build it with \`cargo build\`, or name another one in EVERWIRE_BIN`);
  }
  return path;
}
