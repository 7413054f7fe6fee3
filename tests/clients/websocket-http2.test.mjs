// WebSocket over one stream of an HTTP/2 connection (RFC 8441): Node's http2 carries npm `ws`'s own frames.

import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, constants } from "node:http2";
import { after, before, describe, test } from "node:test";
import { Receiver, Sender } from "ws";
import { startServer } from "../server.mjs";
import { Channel } from "./channel.mjs";
import { Inbox, soon } from "./inbox.mjs";

const MESSAGE_BYTES_MAX = 65_536;
const CONFIG = `
[limits]
message_bytes_max = ${MESSAGE_BYTES_MAX}
[http]
heartbeat_ms = 1000
`;

let server;
before(async () => (server = await startServer({ config: CONFIG })));
after(() => server?.stop());

/** A connection whose server has announced extended CONNECT; it ends with its test. */
async function connection(t, { url } = server) {
  const http2 = connect(url);
  t.after(() => http2.destroy());
  const [settings] = await soon(once(http2, "remoteSettings"), "the server's settings");
  assert.equal(settings.enableConnectProtocol, true, "SETTINGS_ENABLE_CONNECT_PROTOCOL, RFC 8441, section 3");
  return http2;
}

/** Asks for a WebSocket: `{ stream, fields }`. No key and no Upgrade, as section 5 says. */
async function ask(http2, path, fields = {}) {
  const stream = http2.request(
    {
      ":method": "CONNECT",
      ":protocol": "websocket",
      ":path": path,
      "sec-websocket-version": "13",
      ...fields,
    },
    { endStream: false },
  );
  const [answer] = await soon(once(stream, "response"), "a response");
  return { stream, answer };
}

/** An open WebSocket with its messages in an inbox: strings for text, Buffers for binary. */
async function open(http2, path, fields) {
  const { stream, answer } = await ask(http2, path, fields);
  assert.equal(answer[":status"], 200);
  const receiver = new Receiver({ isServer: false });
  const sender = new Sender(stream);
  const socket = { stream, answer, messages: new Inbox(), pongs: new Inbox(), pings: new Inbox() };
  receiver.on("message", (data, isBinary) => socket.messages.put(isBinary ? data : data.toString()));
  receiver.on("pong", (data) => socket.pongs.put(data.toString()));
  receiver.on("ping", (data) => socket.pings.put(data.toString()));
  const closed = new Promise((done) => receiver.on("conclude", (code, reason) => done({ code, reason: reason.toString() })));
  const ended = once(stream, "end");
  const gone = new Promise((done) => stream.on("close", () => done(stream.rstCode)));
  socket.closed = () => soon(closed, "the server's Close frame");
  socket.ended = () => soon(ended, "END_STREAM");
  /** The code with which the stream ended on both sides. */
  socket.gone = () => soon(gone, "the end of the stream");
  socket.send = (data, { fin = true } = {}) =>
    sender.send(data, { binary: typeof data !== "string", mask: true, fin, compress: false });
  socket.ping = (data) => sender.ping(data, true);
  socket.close = (code, reason = "") => sender.close(code, reason, true);
  stream.pipe(receiver);
  return socket;
}

describe("the opening handshake (RFC 8441, section 5)", () => {
  test("is answered with 200, and without what only HTTP/1.1 needs", async (t) => {
    const { answer } = await open(await connection(t), new Channel(server).path);
    for (const field of ["sec-websocket-accept", "upgrade", "connection", "content-length", "transfer-encoding"]) {
      assert.equal(answer[field], undefined, field);
    }
  });

  test("chooses the subprotocol that is known", async (t) => {
    const fields = { "sec-websocket-protocol": "chat, everwire.v1" };
    const { answer } = await open(await connection(t), new Channel(server).path, fields);
    assert.equal(answer["sec-websocket-protocol"], "everwire.v1");
  });

  const refusals = [
    ["a name that is none", "/channels/a//b", {}, 400],
    ["another version", "/channels/news", { "sec-websocket-version": "8" }, 426],
    ["another protocol", "/channels/news", { ":protocol": "connect-udp" }, 405],
    ["an address that is no channel's", "/healthz", {}, 405],
    ["an offset that is none", "/channels/news?offset=~", {}, 400],
    ["a foreign page", "/channels/news", { origin: "https://stranger.example" }, 403],
  ];
  for (const [what, path, fields, status] of refusals) {
    test(`${what} is refused with ${status}, and the connection lives on`, async (t) => {
      const http2 = await connection(t);
      const { stream, answer } = await ask(http2, path, fields);
      assert.equal(answer[":status"], status);
      stream.resume();
      stream.end();
      const echo = await open(http2, "/echo");
      echo.send("still here");
      assert.equal(await echo.messages.next(), "still here");
    });
  }

  test("a stranger is refused with 401", async (t) => {
    const guarded = await startServer({ dev: false });
    t.after(() => guarded.stop());
    const { stream, answer } = await ask(await connection(t, guarded), "/channels/news");
    assert.equal(answer[":status"], 401);
    stream.resume();
    stream.end();
  });
});

describe("/echo", () => {
  test("sends back text and bytes of every length form, whole or in fragments", async (t) => {
    const echo = await open(await connection(t), "/echo");
    for (const length of [0, 1, 125, 126, 65_535, 65_536, 1_000_000]) {
      for (const message of ["x".repeat(length), Buffer.alloc(length, 7)]) {
        echo.send(message);
        assert.deepEqual(await echo.messages.next(`a message of ${length} bytes`), message);
      }
    }
    for (const part of ["in ", "three "]) echo.send(part, { fin: false });
    echo.send("frames");
    assert.equal(await echo.messages.next(), "in three frames");
    echo.close(1000);
    assert.equal((await echo.closed()).code, 1000);
    await echo.ended();
  });

  test("answers pings among the fragments of a message", async (t) => {
    const echo = await open(await connection(t), "/echo");
    echo.send("one ", { fin: false });
    echo.ping("are you there?");
    assert.equal(await echo.pongs.next(), "are you there?");
    echo.send("two");
    assert.equal(await echo.messages.next(), "one two");
  });

  test("takes frames in DATA of one byte each", async (t) => {
    const echo = await open(await connection(t), "/echo");
    // "hi", masked with a zero key, and then a Close without a code.
    for (const byte of Buffer.from("818200000000686988800000" + "0000", "hex")) {
      await new Promise((written) => echo.stream.write(Buffer.of(byte), written));
    }
    assert.equal(await echo.messages.next(), "hi");
    await echo.closed();
    await echo.ended();
  });

  test("fails the connection with 1002 for a frame that is not masked, and with 1007 for text that is no UTF-8", async (t) => {
    for (const [frame, code] of [["81026869", 1002], ["818100000000ff", 1007]]) {
      const echo = await open(await connection(t), "/echo");
      echo.stream.write(Buffer.from(frame, "hex"));
      assert.equal((await echo.closed()).code, code);
      await echo.ended();
    }
  });

  test("twenty on one connection do not disturb each other", async (t) => {
    const http2 = await connection(t);
    const echoes = await Promise.all(Array.from({ length: 20 }, () => open(http2, "/echo")));
    for (let round = 0; round < 10; round += 1) echoes.forEach((echo, n) => echo.send(`${n}:${round}`));
    for (const [n, echo] of echoes.entries()) {
      assert.deepEqual(await echo.messages.take(10), Array.from({ length: 10 }, (_, round) => `${n}:${round}`));
    }
  });
});

describe("the raw wire", () => {
  test("carries entries both ways, and starts where it is told", async (t) => {
    const channel = new Channel(server);
    const first = await channel.publish("one");
    await channel.publish("two");
    const http2 = await connection(t);
    const [live, beginning, resumed] = await Promise.all(
      ["", "?offset=-1", `?offset=${first}`].map((query) => open(http2, channel.path + query)),
    );
    live.send("three");
    assert.deepEqual(await live.messages.take(1), ["three"]);
    assert.deepEqual(await beginning.messages.take(3), ["one", "two", "three"]);
    assert.deepEqual(await resumed.messages.take(2), ["two", "three"]);
    assert.equal(await (await fetch(channel.url)).text(), "onetwothree");
  });

  test("ends with 1000 and END_STREAM when the channel is closed", async (t) => {
    const channel = new Channel(server);
    await channel.publish("last");
    const socket = await open(await connection(t), `${channel.path}?offset=-1`);
    assert.equal(await socket.messages.next(), "last");
    await channel.close();
    assert.equal((await socket.closed()).code, 1000);
    await socket.ended();
    socket.stream.end();
    assert.equal(await socket.gone(), constants.NGHTTP2_NO_ERROR);
  });

  test("a message above the limit fails the connection with 1009", async (t) => {
    const socket = await open(await connection(t), new Channel(server).path);
    socket.send("x".repeat(MESSAGE_BYTES_MAX + 1));
    assert.equal((await socket.closed()).code, 1009);
  });

  test("a line that is silent is sent heartbeats, and lives", async (t) => {
    const channel = new Channel(server);
    const socket = await open(await connection(t), channel.path);
    await socket.pings.next("a heartbeat");
    await channel.publish("after it");
    assert.equal(await socket.messages.next(), "after it");
  });

  test("a reader that takes nothing falls behind in the log, and holds up no other", async (t) => {
    const channel = new Channel(server);
    const http2 = await connection(t);
    const [slow, fast] = [await open(http2, channel.path), await open(http2, channel.path)];
    slow.stream.pause();
    const numbers = Array.from({ length: 64 }, (_, n) => n);
    for (const n of numbers) {
      await channel.publish(`${n} ${"x".repeat(16_000)}`);
      assert.equal(Number.parseInt(await fast.messages.next(`entry ${n}`), 10), n);
    }
    slow.stream.resume();
    const late = await slow.messages.take(64);
    assert.deepEqual(late.map((text) => Number.parseInt(text, 10)), numbers);
  });

  test("a cancelled stream ends its line, and the connection lives on", async (t) => {
    const channel = new Channel(server);
    const http2 = await connection(t);
    const [first, second] = [await open(http2, channel.path), await open(http2, channel.path)];
    first.stream.close(constants.NGHTTP2_CANCEL);
    await first.gone();
    await channel.publish("after");
    assert.equal(await second.messages.next(), "after");
  });
});

describe("the session form, everwire.v1", () => {
  const SESSION = { "sec-websocket-protocol": "everwire.v1" };

  async function openSession(http2, path) {
    const socket = await open(http2, path, SESSION);
    socket.next = async (what) => JSON.parse(await socket.messages.next(what));
    assert.equal((await socket.next("the welcome")).ev, "welcome");
    return socket;
  }

  test("publishes, and is told the entry and its offset", async (t) => {
    const channel = new Channel(server);
    const session = await openSession(await connection(t), channel.path);
    session.send(JSON.stringify({ id: 1, op: "publish", data: { text: "hi" }, event: "greeting" }));
    const messages = [await session.next("two messages"), await session.next("two messages")];
    const reply = messages.find(({ re }) => re === 1);
    const entry = messages.find(({ ev }) => ev === "entry");
    assert.equal(reply.ok.offset, entry.offset);
    assert.deepEqual([entry.channel, entry.event, entry.data], [channel.name, "greeting", { text: "hi" }]);
  });

  test("resumes on HTTP/1.1 where it ended on HTTP/2, and back", async (t) => {
    const channel = new Channel(server);
    const http2 = await connection(t);
    let offset = await channel.publish({ n: 0 });
    for (let n = 1; n <= 6; n += 1) {
      await channel.publish({ n });
      if (n % 2) {
        const session = await openSession(http2, `${channel.path}?offset=${offset}`);
        const entry = await session.next("an entry");
        assert.equal(entry.data.n, n);
        offset = entry.offset;
        session.stream.close(constants.NGHTTP2_CANCEL);
      } else {
        const answer = await fetch(`${channel.url}?offset=${offset}&live=long-poll`);
        assert.deepEqual(await answer.json(), [{ n }]);
        offset = answer.headers.get("stream-next-offset");
      }
    }
  });

  test("a closed channel is an event", async (t) => {
    const channel = new Channel(server);
    await channel.publish({ n: 1 });
    const session = await openSession(await connection(t), channel.path);
    await channel.close();
    const closed = await session.next("the end");
    assert.deepEqual([closed.ev, closed.channel], ["closed", channel.name]);
  });

  test("what is no JSON object closes the line with 4400", async (t) => {
    const session = await openSession(await connection(t), new Channel(server).path);
    session.send("[1]");
    assert.equal((await session.closed()).code, 4400);
    await session.ended();
  });

  test("a server that is stopped says when to come back, closes with 1001, and ends the connection with GOAWAY", async (t) => {
    const other = await startServer();
    t.after(() => other.stop());
    const http2 = await connection(t, other);
    const goaway = once(http2, "goaway");
    const path = new Channel(other).path;
    const [session, raw, echo] = [await openSession(http2, path), await open(http2, path), await open(http2, "/echo")];
    const began = Date.now();
    const stopped = other.stop();
    const drain = await session.next("drain");
    assert.equal(drain.ev, "drain");
    assert.ok(drain.after_ms >= 0);
    for (const socket of [session, raw, echo]) assert.equal((await socket.closed()).code, 1001);
    assert.equal((await soon(goaway, "GOAWAY"))[0], constants.NGHTTP2_NO_ERROR);
    assert.equal(await stopped, 0);
    assert.ok(Date.now() - began < 5_000, `${Date.now() - began} ms`);
  });
});
