// Many streams on one HTTP/2 connection, in clear text with prior knowledge, as Node's own http2 sees them.

import assert from "node:assert/strict";
import { connect, constants } from "node:http2";
import { after, before, describe, test } from "node:test";
import { startServer } from "../server.mjs";
import { Channel } from "./channel.mjs";
import { Inbox, soon } from "./inbox.mjs";

let server;
before(async () => (server = await startServer()));
after(() => server?.stop());

/** A connection that ends with its test. */
async function open(t, { url } = server) {
  const connection = connect(url);
  t.after(() => connection.destroy());
  await soon(new Promise((opened, failed) => connection.once("connect", opened).once("error", failed)), "a connection");
  return connection;
}

/** The header fields of a stream's response. */
function response(stream) {
  return soon(new Promise((got, failed) => stream.once("response", got).once("error", failed)), "a response");
}

/** One exchange: `{ status, headers, body }`. */
async function exchange(connection, headers, body) {
  const stream = connection.request(headers);
  stream.end(body);
  const fields = await response(stream);
  let text = "";
  for await (const chunk of stream.setEncoding("utf8")) text += chunk;
  return { status: fields[":status"], headers: fields, body: text };
}

/** An event stream with its `data:` lines in an inbox. */
async function events(connection, path) {
  const stream = connection.request({ ":path": path, accept: "text/event-stream" });
  stream.lines = new Inbox();
  const ended = new Promise((done) => stream.on("close", () => done(stream.rstCode)));
  stream.ended = () => soon(ended, "the end of the stream");
  const fields = await response(stream);
  assert.equal(fields[":status"], 200);
  let pending = "";
  stream.setEncoding("utf8").on("data", (chunk) => {
    const lines = (pending + chunk).split("\n");
    pending = lines.pop();
    for (const line of lines) if (line.startsWith("data: ")) stream.lines.put(line.slice(6));
  });
  return stream;
}

describe("one connection", () => {
  test("carries fifty event streams and the appends that they show", async (t) => {
    const connection = await open(t);
    const channel = new Channel(server);
    const streams = await Promise.all(Array.from({ length: 50 }, () => events(connection, channel.path)));
    for (const text of ["one", "two"]) {
      const headers = { ":method": "POST", ":path": channel.path, "content-type": "text/plain" };
      assert.equal((await exchange(connection, headers, text)).status, 204);
    }
    for (const stream of streams) assert.deepEqual(await stream.lines.take(2), ["one", "two"]);
  });

  test("parks fifty long polls, and one entry answers them all", async (t) => {
    const connection = await open(t);
    const channel = new Channel(server);
    const offset = await channel.publish({ n: 0 });
    const path = `${channel.path}?offset=${offset}&live=long-poll`;
    const polls = Array.from({ length: 50 }, () => exchange(connection, { ":path": path }));
    await channel.publish({ n: 1 });
    for (const { status, body } of await Promise.all(polls)) assert.deepEqual([status, body], [200, '[{"n":1}]']);
  });

  test("keeps its other streams when some are cancelled", async (t) => {
    const connection = await open(t);
    const channel = new Channel(server);
    const streams = await Promise.all(Array.from({ length: 20 }, () => events(connection, channel.path)));
    const cancelled = streams.splice(5, 10);
    for (const stream of cancelled) stream.close(constants.NGHTTP2_CANCEL);
    await Promise.all(cancelled.map((stream) => stream.ended()));
    await channel.publish("after");
    for (const stream of streams) assert.equal(await stream.lines.next(), "after");
  });

  test("is not held up by a stream that nobody reads", async (t) => {
    const connection = await open(t);
    const channel = new Channel(server);
    const [idle, busy] = await Promise.all([events(connection, channel.path), events(connection, channel.path)]);
    idle.pause();
    // Eight times what flow control lets a stream have unread (RFC 9113, section 6.9.2).
    for (let n = 0; n < 32; n += 1) {
      await channel.publish(`${n} ${"x".repeat(16_000)}`);
      assert.equal(Number.parseInt(await busy.lines.next(`entry ${n}`), 10), n);
    }
    idle.resume();
    const late = (await idle.lines.take(32)).map((line) => Number.parseInt(line, 10));
    assert.deepEqual(late, Array.from({ length: 32 }, (_, n) => n));
  });
});

describe("ends", () => {
  test("an event stream of a closed channel ends without an error", async (t) => {
    const connection = await open(t);
    const channel = new Channel(server);
    const stream = await events(connection, channel.path);
    await channel.publish("last");
    await channel.close();
    assert.equal(await stream.lines.next(), "last");
    assert.equal(await stream.ended(), constants.NGHTTP2_NO_ERROR);
  });

  test("a server that is stopped says so with GOAWAY, and ends the streams without an error", async (t) => {
    const other = await startServer();
    t.after(() => other.stop());
    const connection = await open(t, other);
    const goaway = new Promise((said) => connection.once("goaway", said));
    const stream = await events(connection, new Channel(other).path);
    const stopped = other.stop("SIGTERM");
    assert.equal(await soon(goaway, "GOAWAY"), constants.NGHTTP2_NO_ERROR);
    assert.equal(await stream.ended(), constants.NGHTTP2_NO_ERROR);
    assert.equal(await stopped, 0);
  });

  test("an error is the same problem as over HTTP/1.1", async (t) => {
    const connection = await open(t);
    const { status, headers, body } = await exchange(connection, { ":path": "/channels/a//b" });
    assert.equal(status, 400);
    assert.match(headers["content-type"], /^application\/problem\+json/);
    assert.equal(JSON.parse(body).status, 400);
  });
});
