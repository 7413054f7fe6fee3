// The applications of examples/webhooks, asked by the real server: they check its signature, name a caller by the cookie,
// and replace what is rude.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { binary, startServer } from "../server.mjs";

const EXAMPLES = fileURLToPath(new URL("../../examples/webhooks/", import.meta.url));
const START_MS_MAX = 10_000;
const own = { cookie: "sid=1", "sec-fetch-site": "same-origin", "content-type": "application/json" };

/** A port of loopback that nobody has. */
async function freePort() {
  const server = createServer();
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

/** Resolves when something answers there, however badly. */
async function untilAnswered(port) {
  for (const until = Date.now() + START_MS_MAX; ; ) {
    try {
      return await fetch(`http://127.0.0.1:${port}/`);
    } catch (error) {
      if (Date.now() > until) throw error;
    }
  }
}

/** The keys that `everwire key --webhook` prints: the private one, and the public one. */
function makeKeys() {
  const printed = execFileSync(binary(), ["key", "--webhook"], { encoding: "utf8" });
  return printed.match(/-----BEGIN [^]*?-----END [A-Z ]+-----\n/g);
}

for (const { name, program, prepare } of [
  {
    name: "Node, by the server's public key",
    program: ["node", "application.mjs"],
    prepare(folder) {
      const [privateKey, publicKey] = makeKeys();
      writeFileSync(join(folder, "private.pem"), privateKey);
      writeFileSync(join(folder, "public.pem"), publicKey);
      return { file: "public.pem", setting: `private_key_file = "${join(folder, "private.pem")}"` };
    },
  },
  {
    name: "Python, by a secret",
    program: ["python3", "application.py"],
    prepare(folder) {
      writeFileSync(join(folder, "secret"), "a secret that only both of them know\n");
      return { file: "secret", setting: `secret_file = "${join(folder, "secret")}"` };
    },
  },
]) {
  test(`the example for ${name}`, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), "everwire-webhooks-"));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const { file, setting } = prepare(folder);
    const port = await freePort();
    const [command, script] = program;
    const application = spawn(command, [join(EXAMPLES, script), String(port), join(folder, file)], { stdio: ["ignore", "ignore", "ignore"] });
    t.after(() => application.kill());
    await untilAnswered(port);
    const config = `
      [webhooks]
      url = "http://127.0.0.1:${port}/"
      connect = true
      headers = ["cookie"]
      ${setting}
      [[rules]]
      match = "chat/*"
      decide = ["publish"]`;
    const server = await startServer({ config, dev: false });
    t.after(() => server.stop());

    const lobby = `${server.url}/channels/chat/lobby`;
    const stranger = await fetch(lobby, { method: "POST", body: '["hello"]', headers: { "content-type": "application/json" } });
    assert.equal(stranger.status, 403, "a stranger is refused");
    assert.equal((await stranger.json()).reason, "log in first");

    const published = await fetch(lobby, { method: "POST", body: '["kind","rude"]', headers: own });
    assert.equal(published.status, 204, await published.text());
    const page = await fetch(lobby, { headers: own });
    assert.deepEqual(await page.json(), ["kind", "***"]);

    const forged = await fetch(`http://127.0.0.1:${port}/`, {
      method: "POST",
      body: '{"question":"connect","headers":{"cookie":"sid=1"}}',
      headers: { "everwire-signature": `t=${Math.floor(Date.now() / 1000)},hs256=${"00".repeat(32)},ed25519=${"00".repeat(64)}` },
    });
    assert.equal(forged.status, 401, "the application answers nobody else");
  });
}
