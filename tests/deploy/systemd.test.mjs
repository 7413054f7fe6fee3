// The units of deploy/ are valid, let the server do no more than it needs, and let it do all that it needs.

import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { binary } from "../server.mjs";

const DEPLOY = new URL("../../deploy/", import.meta.url);
/** The exposure that `systemd-analyze security` gives, from 0 to 100: below 20 is "OK" with a smile. */
const EXPOSURE_MAX = 12;

function folder(t) {
  const path = mkdtempSync(join(tmpdir(), "everwire-deploy-"));
  t.after(() => rmSync(path, { recursive: true }));
  return path;
}

const unit = (name) => readFileSync(new URL(name, DEPLOY), "utf8");

test("the units are valid", (t) => {
  const path = folder(t);
  for (const name of ["everwire.service", "everwire.socket"]) {
    // It has to be there, wherever it is.
    writeFileSync(join(path, name), unit(name).replaceAll("/usr/local/bin/everwire", binary()));
  }
  const args = ["verify", "--man=no", join(path, "everwire.service"), join(path, "everwire.socket")];
  const { status, stderr } = spawnSync("systemd-analyze", args, { encoding: "utf8" });
  const about = stderr.split("\n").filter((line) => line.includes("everwire."));
  assert.deepEqual([status, about], [0, []], stderr);
});

test("the service is exposed no more than it has to be", () => {
  const path = new URL("everwire.service", DEPLOY).pathname;
  const args = ["security", "--offline=true", `--threshold=${EXPOSURE_MAX}`, path];
  const { status, stdout } = spawnSync("systemd-analyze", args, { encoding: "utf8" });
  assert.equal(status, 0, stdout.split("\n").at(-2));
});

test("all system calls that the server makes are allowed", async (t) => {
  const trace = join(folder(t), "trace");
  const config = join(folder(t), "everwire.toml");
  writeFileSync(config, "[channels]\nanonymous = ['read', 'publish']\n");
  const args = ["-f", "-qq", "-o", trace, "-e", "signal=none", binary(), "serve", "--listen", "127.0.0.1:0", "--config", config];
  const strace = spawn("strace", args, { stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => strace.kill("SIGKILL"));
  const [, url] = /listening on (\S+)/.exec(String((await once(strace.stdout, "data"))[0]));
  const channel = `${url}/channels/a`;
  // Each kind of work once: append, read, a line, HTTP/2.
  assert.equal((await fetch(channel, { method: "POST", body: "1" })).status, 204);
  assert.equal((await fetch(channel)).status, 200);
  const line = await fetch(channel, { headers: { accept: "text/event-stream" } });
  await line.body.cancel();
  execFileSync("curl", ["-s", "-f", "--http2-prior-knowledge", channel]);
  const [server] = readFileSync(trace, "utf8").split(" ", 1);
  process.kill(Number(server), "SIGTERM");
  assert.equal((await once(strace, "exit"))[0], 0);

  const calls = readFileSync(trace, "utf8").matchAll(/^\d+ +([a-z0-9_]+)\(/gm);
  const made = new Set(Array.from(calls, (match) => match[1]));
  assert.ok(made.has("epoll_wait") && made.has("listen"), [...made].join(" "));
  const allowed = allowedCalls(unit("everwire.service"));
  // What starts it is systemd itself.
  const refused = [...made].filter((call) => !allowed.has(call) && call !== "execve");
  assert.deepEqual(refused, []);
});

/** The names that the lines `SystemCallFilter=` of a unit add up to. */
function allowedCalls(text) {
  const groups = new Map();
  let group;
  for (const line of execFileSync("systemd-analyze", ["syscall-filter"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).split("\n")) {
    const found = /^(?:# )?(@\S+)$/.exec(line);
    if (found) groups.set(found[1], (group = []));
    else if (/^ +[@a-z]/.test(line)) group?.push(line.trim());
  }
  const members = (name) => (name.startsWith("@") ? groups.get(name).flatMap(members) : [name]);
  const allowed = new Set();
  for (const [, not, names] of text.matchAll(/^SystemCallFilter=(~?)(.*)$/gm)) {
    for (const call of names.split(" ").flatMap(members)) allowed[not ? "delete" : "add"](call);
  }
  return allowed;
}
