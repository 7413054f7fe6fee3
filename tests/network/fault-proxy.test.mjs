// The fault proxy itself: what a client sees of each fault, and what of a request reaches the server.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { soon } from "../clients/inbox.mjs";
import { FaultProxy } from "./fault-proxy.mjs";

const OPENINGS = {
  websocket: "GET /connect HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
  "event-stream": "GET /connect HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n",
  ndjson: "GET /connect HTTP/1.1\r\nHost: a\r\nAccept: application/x-ndjson\r\n\r\n",
  "long-poll": "GET /connect HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n",
};
const COMMANDS = "POST /connect/s1 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nping";

/** What the server has seen: the heads it got, and what came up on its WebSocket. */
let server, host, seen;
before(async () => {
  server = createServer((request, response) => {
    seen.push(`${request.method} ${request.url}`);
    if (request.method === "POST") return response.end("pong");
    if (request.headers.accept === "application/json") {
      response.end('{"session":"s1"} end');
      return seen.push("over");
    }
    response.write('{"session":"s1"}');
    const timer = setTimeout(() => response.end(" end"), 20);
    response.on("close", () => {
      clearTimeout(timer);
      seen.push("over");
    });
  });
  server.on("upgrade", (_request, socket) => {
    seen.push("upgrade");
    socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x05hello", "latin1");
    socket.on("data", (chunk) => {
      seen.push(`up ${chunk.subarray(1)}`);
      socket.end("\x81\x03end", "latin1", () => seen.push("over"));
    });
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  host = `127.0.0.1:${server.address().port}`;
});
after(() => {
  server.closeAllConnections();
  server.close();
});

async function proxyWith(t, ...commands) {
  seen = [];
  const proxy = await FaultProxy.to(host);
  t.after(() => proxy.stop());
  for (const command of commands) proxy.do(command);
  return proxy;
}

/** A client that collects what comes; `then` is sent once something came. */
function client(proxy, request, then = "") {
  const [address, port] = proxy.host.split(":");
  const socket = connect(Number(port), address);
  const heard = { text: "", socket };
  socket.write(request, "latin1");
  socket.on("data", (chunk) => {
    heard.text += chunk.toString("latin1");
    if (then) socket.write(then, "latin1");
    then = "";
  });
  heard.over = new Promise((over) => {
    socket.on("error", () => over("reset"));
    socket.on("end", () => over("ended"));
  });
  return heard;
}

async function until(condition, what) {
  const deadline = Date.now() + 5_000;
  while (!condition()) {
    assert.ok(Date.now() < deadline, `waited 5 s for ${what}`);
    await new Promise((passed) => setTimeout(passed, 1));
  }
}

describe("what a client sees of a fault", () => {
  for (const [name, wire, fault, over, text] of [
    ["everything passes without one", "event-stream", { fault: "none" }, null, /200 OK[^]*"s1"[^]* end/],
    ["a refusal has its status and a page", "websocket", { fault: "refuse", status: 403 }, "ended", /^HTTP\/1.1 403 [^]*text\/html[^]*Please log in/],
    ["a refusal may be the server's own", "ndjson", { fault: "refuse", status: 503, problem: "overloaded", retry_after_s: 2 }, "ended", /^HTTP\/1.1 503 [^]*problem\+json[^]*Retry-After: 2[^]*problems\/overloaded/],
    ["a refusal without a status is no answer", "event-stream", { fault: "refuse" }, "reset", /^$/],
    ["a foreign page is 200", "long-poll", { fault: "foreign" }, "ended", /^HTTP\/1.1 200 [^]*Please log in/],
    ["a cut ends a stream inside of its content", "ndjson", { fault: "cut", bytes: 12 }, "ended", /\r\n\r\n[^]{12}$/],
    ["a cut counts what comes after the upgrade", "websocket", { fault: "cut", bytes: 4 }, "ended", /\r\n\r\n\x81\x05he$/],
    ["a stream that is held back comes whole in the end", "event-stream", { fault: "hold" }, null, /^HTTP\/1.1 200[^]*"s1"[^]* end/],
    ["what is delayed comes in its order", "event-stream", { fault: "delay", ms: 5 }, null, /^HTTP\/1.1 200[^]*"s1"[^]* end/],
  ]) {
    test(name, async (t) => {
      const proxy = await proxyWith(t, { do: "network", wire, ...fault });
      const heard = client(proxy, OPENINGS[wire]);
      if (over) assert.equal(await soon(heard.over, `the end of ${heard.text}`), over);
      else await until(() => heard.text.includes(" end"), "the end of the stream");
      assert.match(heard.text, text);
      assert.deepEqual(proxy.do({ do: "attempts" }), [wire]);
    });
  }

  test("what is swallowed never comes, not even the end", async (t) => {
    for (const wire of Object.keys(OPENINGS)) {
      const proxy = await proxyWith(t, { do: "network", wire, fault: "swallow" });
      const heard = client(proxy, OPENINGS[wire]);
      await until(() => heard.text.includes("\r\n\r\n"), `the head over ${wire}`);
      proxy.do({ do: "network", wire, fault: "none" });
      if (wire === "websocket") heard.socket.write("\x81\x02up", "latin1");
      await until(() => seen.includes("over"), "the server to have said all");
      // What came down before has passed the proxy when something that came later has.
      const later = client(proxy, COMMANDS);
      await until(() => later.text.includes("pong"), "something else to come down");
      assert.match(heard.text, /\r\n\r\n$/, wire);
      heard.socket.destroy();
    }
  });

  test("what goes up is swallowed on a WebSocket and for the commands of a session", async (t) => {
    const proxy = await proxyWith(t, { do: "network", wire: "*", fault: "swallow-up" });
    const socket = client(proxy, OPENINGS.websocket, "\x81\x02up");
    const stream = client(proxy, OPENINGS.ndjson);
    await until(() => stream.text.includes("s1") && socket.text.includes("hello"), "both to be open");
    const post = client(proxy, COMMANDS);
    const other = client(proxy, OPENINGS["long-poll"]);
    await until(() => other.text.includes("end"), "a request that came later");
    assert.equal(post.text, "");
    assert.deepEqual(seen.filter((what) => what.startsWith("POST") || what.startsWith("up ")), [], "what went up");
  });

  test("a fault of one wire leaves the others, and commands of their sessions, alone", async (t) => {
    const proxy = await proxyWith(t, { do: "network", wire: "websocket", fault: "refuse", status: 400 });
    const stream = client(proxy, OPENINGS["event-stream"]);
    await until(() => stream.text.includes("s1"), "the stream");
    const post = client(proxy, COMMANDS);
    await until(() => post.text.includes("pong"), "the answer");
  });

  test("one connection may carry many requests", async (t) => {
    const proxy = await proxyWith(t);
    const heard = client(proxy, COMMANDS, OPENINGS["long-poll"]);
    await until(() => heard.text.includes(" end"), "the second answer");
    assert.match(heard.text, /pong[^]*s1/);
  });
});

describe("what befalls all at once", () => {
  test("a lost reply was carried out, and its connection is cut", async (t) => {
    const proxy = await proxyWith(t, { do: "lose_replies", count: 1 });
    assert.equal(await client(proxy, COMMANDS).over, "reset");
    assert.deepEqual(seen, ["POST /connect/s1"]);
    const again = client(proxy, COMMANDS);
    await until(() => again.text.includes("pong"), "the next answer");
  });

  test("a lost reply on a WebSocket is that to the next message", async (t) => {
    const proxy = await proxyWith(t, { do: "lose_replies", count: 1 });
    const heard = client(proxy, OPENINGS.websocket, "\x81\x02up");
    assert.equal(await heard.over, "reset");
    assert.ok(seen.includes("up \x02up") && !heard.text.includes("end"));
  });

  test("a server that is down cuts who asks; one that is paused lets them wait", async (t) => {
    const proxy = await proxyWith(t, { do: "server", up: false });
    assert.equal(await client(proxy, OPENINGS.ndjson).over, "reset");
    proxy.do({ do: "server", up: true });
    proxy.do({ do: "pause" });
    const waits = client(proxy, OPENINGS.ndjson);
    await once(waits.socket, "connect");
    proxy.do({ do: "resume" });
    await until(() => waits.text.includes("s1"), "the stream");
    proxy.do({ do: "cut" });
    assert.equal(await waits.over, "reset");
    assert.deepEqual(proxy.attempts, ["ndjson", "ndjson"]);
  });

  test("WebSockets are closed with a code", async (t) => {
    const proxy = await proxyWith(t);
    const heard = client(proxy, OPENINGS.websocket);
    await until(() => heard.text.includes("hello"), "the first message");
    proxy.do({ do: "close_lines", code: 1013 });
    assert.equal(await heard.over, "ended");
    assert.ok(heard.text.endsWith("\x88\x02\x03\xf5"));
  });
});

test("a command that makes no sense is answered with what is known", () => {
  const proxy = new FaultProxy();
  for (const [command, said] of [
    [{ do: "netwrok" }, /network, server/],
    [{ do: "network", wire: "pigeon", fault: "none" }, /websocket, event-stream/],
    [{ do: "network", wire: "*", fault: "lose" }, /refuse, foreign/],
    [{ do: "network", wire: "*", fault: "cut", ms: 4 }, /it has bytes/],
  ]) {
    assert.throws(() => proxy.do(command), said);
  }
});

test("a test in another language commands it by lines", async (t) => {
  const child = spawn(process.execPath, [fileURLToPath(new URL("fault-proxy.mjs", import.meta.url)), host], { stdio: ["pipe", "pipe", "inherit"] });
  t.after(() => child.kill());
  seen = [];
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ask = async (command) => {
    child.stdin.write(`${JSON.stringify(command)}\n`);
    return JSON.parse((await lines.next()).value);
  };
  const { listening } = JSON.parse((await soon(lines.next(), "the proxy")).value);
  assert.deepEqual(await ask({ do: "network", wire: "ndjson", fault: "foreign" }), { ok: {} });
  assert.equal(await client({ host: listening }, OPENINGS.ndjson).over, "ended");
  assert.deepEqual(await ask({ do: "attempts" }), { ok: ["ndjson"] });
  assert.match((await ask({ do: "nothing" })).error, /is no command/);
  child.stdin.end();
  assert.deepEqual(await once(child, "exit"), [0, null]);
});
