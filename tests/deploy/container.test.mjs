// What goes into the container is all that the server needs, and lets it serve as a user without rights.

import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { binary } from "../server.mjs";

const DEPLOY = new URL("../../deploy/", import.meta.url).pathname;

/** The lines of the Containerfile that begin with an instruction. */
const said = (instruction) =>
  readFileSync(join(DEPLOY, "Containerfile"), "utf8").split("\n").filter((line) => line.startsWith(`${instruction} `)).at(-1);

test("the server runs in what the container holds, and knows by itself whether it is well", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "everwire-container-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const root = join(folder, "root");
  execFileSync(join(DEPLOY, "container-root"), [binary(), root]);

  const inside = process.getuid() === 0 ? ["chroot", "--userspec=65532:65532", root] : ["unshare", "-r", "chroot", root];
  const env = { PATH: process.env.PATH, EVERWIRE_LISTEN: "127.0.0.1:0", EVERWIRE_CHANNELS__ANONYMOUS: "read,publish" };
  const [entry] = JSON.parse(said("ENTRYPOINT").slice("ENTRYPOINT ".length));
  const [program, ...args] = [...inside, entry, ...JSON.parse(said("CMD").slice("CMD ".length))];
  const server = spawn(program, args, { env, stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => server.kill("SIGKILL"));
  const [, url] = /listening on (\S+)/.exec(String((await once(server.stdout, "data"))[0]));
  assert.equal((await fetch(`${url}/channels/a`, { method: "POST", body: "1" })).status, 204);

  const check = JSON.parse(/\[.*\]/.exec(said("HEALTHCHECK"))[0]);
  const health = () => spawnSync(inside[0], [...inside.slice(1), ...check], { env: { ...env, EVERWIRE_LISTEN: new URL(url).host } });
  assert.equal(health().status, 0);
  server.kill("SIGTERM");
  assert.equal((await once(server, "exit"))[0], 0);
  assert.equal(health().status, 1);
});

test("the container holds no shell, and no file that others may write", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "everwire-container-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const root = join(folder, "root");
  execFileSync(join(DEPLOY, "container-root"), [binary(), root]);
  const find = (...what) => execFileSync("find", [root, ...what], { encoding: "utf8" }).trim();
  assert.equal(find("-perm", "/022"), "");
  assert.equal(find("-perm", "/6000"), "");
  const programs = find("-type", "f", "-path", "*bin/*").split("\n");
  assert.deepEqual(programs, [join(root, "usr/local/bin/everwire")]);
});
