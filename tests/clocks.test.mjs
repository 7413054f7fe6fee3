// The real server while its clock is set. The time that passes is another clock's, as on a machine.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { Agent, get } from "node:http";
import { connect } from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { startServer } from "./server.mjs";

const SECRET = "0123456789abcdef0123456789abcdef";
const HOUR_S = 60 * 60;

/** The server, with `set(seconds)` to have its clock show so much more than the time. */
async function clocked(t, config) {
  const folder = mkdtempSync(join(tmpdir(), "everwire-clock-"));
  const file = join(folder, "offset");
  const set = (seconds) => writeFileSync(file, `${seconds < 0 ? "" : "+"}${seconds}`);
  set(0);
  const env = {
    LD_PRELOAD: library(),
    FAKETIME_TIMESTAMP_FILE: file,
    FAKETIME_NO_CACHE: "1",
    FAKETIME_DONT_FAKE_MONOTONIC: "1",
  };
  const server = await startServer({ config, dev: false, env });
  t.after(async () => {
    await server.stop("SIGKILL");
    rmSync(folder, { recursive: true });
  });
  return { ...server, set };
}

/** Debian's libfaketime for programs with threads. */
function library() {
  const all = readdirSync("/usr/lib").map((name) => `/usr/lib/${name}/faketime/libfaketimeMT.so.1`);
  return all.find(existsSync) ?? "/usr/lib/faketime/libfaketimeMT.so.1";
}

function token(lives_s) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const claims = { sub: "ada", exp: Math.floor(Date.now() / 1000) + lives_s, channels: [{ match: "**", can: ["read"] }] };
  const said = `${part({ alg: "HS256", kid: "hs" })}.${part(claims)}`;
  return `${said}.${createHmac("sha256", SECRET).update(said).digest("base64url")}`;
}

const TOKENS = `[[tokens.keys]]\nkid = "hs"\nalg = "HS256"\nsecret = "${SECRET}"\n`;

/** How far a date is from what the real clock shows and this many seconds. */
function isNear(date, seconds) {
  return Math.abs(Date.parse(date) - Date.now() - seconds * 1000) < 10_000;
}

test("each response has the date that the clock shows, forward and back", async (t) => {
  const server = await clocked(t, "");
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const overHttp1 = () =>
    new Promise((done, failed) => {
      get(`${server.url}/healthz`, { agent }, (response) => (response.resume(), done(response.headers.date))).on("error", failed);
    });
  const session = connect(server.url);
  const overHttp2 = () =>
    new Promise((done, failed) => {
      const stream = session.request({ ":path": "/healthz" });
      stream.on("response", (headers) => done(headers.date)).on("error", failed).resume();
    });
  t.after(() => (agent.destroy(), session.destroy()));
  for (const seconds of [0, 7200, -86_400, 0, -1800]) {
    server.set(seconds);
    for (const [wire, date] of [["HTTP/1.1", await overHttp1()], ["HTTP/2", await overHttp2()]]) {
      assert.ok(isNear(date, seconds), `${wire}, set to ${seconds}: ${date}`);
    }
  }
});

test("a line ends with its token when the clock is set forward, and no other does", async (t) => {
  const server = await clocked(t, `[channels]\nanonymous = ["read"]\n${TOKENS}`);
  const open = async (path, accept) => {
    const response = await fetch(`${server.url}${path}`, { headers: { accept } });
    assert.equal(response.status, 200);
    const line = { isOpen: true };
    line.ended = (async () => {
      for await (const _ of response.body);
      line.isOpen = false;
    })();
    return line;
  };
  const ends = await open(`/channels/news?token=${token(HOUR_S)}`, "text/event-stream");
  const session = await open(`/connect?channel=news&token=${token(HOUR_S)}`, "application/x-ndjson");
  const stays = await open("/channels/news", "text/event-stream");
  const polled = await (await fetch(`${server.url}/connect`, { headers: { accept: "application/json" } })).json();
  const { session: id, secret } = polled.messages[0];
  const ping = () =>
    fetch(`${server.url}/connect/${id}`, { method: "POST", headers: { "everwire-secret": secret }, body: '{"op":"ping"}' });

  server.set(-86_400);
  await new Promise((passed) => setTimeout(passed, 1500));
  assert.deepEqual([ends, session, stays].map((line) => line.isOpen), [true, true, true], "none ends when it is set back");

  server.set(2 * 3600);
  await Promise.all([ends.ended, session.ended]);
  assert.ok(stays.isOpen);
  assert.equal((await ping()).status, 200, "a session by polls is not taken for one that nobody polls");
  await server.stop();
  await stays.ended;
});
