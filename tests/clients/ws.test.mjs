// The WebSocket wires as npm `ws` sees them: raw, and as a session by the subprotocol `everwire.v1`.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import WebSocket from "ws";
import { startServer } from "../server.mjs";
import { Channel, restart } from "./channel.mjs";
import { Inbox, soon } from "./inbox.mjs";
import { startProxy } from "./proxy.mjs";

const MESSAGE_BYTES_MAX = 65_536;
const CONFIG = `
[limits]
message_bytes_max = ${MESSAGE_BYTES_MAX}
`;

let server;
before(async () => (server = await startServer({ config: CONFIG })));
after(() => server?.stop());

/** An open WebSocket with its messages in an inbox: strings for text, Buffers for binary. */
async function open(url, protocols = [], options = {}) {
  const socket = new WebSocket(url, protocols, options);
  socket.messages = new Inbox();
  socket.pongs = new Inbox();
  socket.on("message", (data, isBinary) => socket.messages.put(isBinary ? data : data.toString()));
  socket.on("pong", (data) => socket.pongs.put(data.toString()));
  const closed = new Promise((done) => socket.on("close", (code, reason) => done({ code, reason: reason.toString() })));
  socket.closed = () => soon(closed, "the end of the connection");
  await soon(new Promise((opened, failed) => socket.on("open", opened).on("error", failed)), "the opening handshake");
  return socket;
}

/** A session's messages as objects, after its welcome. */
async function openSession(url, options) {
  const socket = await open(url, ["everwire.v1"], options);
  assert.equal(socket.protocol, "everwire.v1");
  const welcome = JSON.parse(await socket.messages.next("welcome"));
  assert.equal(welcome.ev, "welcome");
  socket.nextEvent = async (what) => JSON.parse(await socket.messages.next(what));
  return socket;
}

/** The status and headers with which the server refuses an upgrade. */
function refusal(url, options = {}) {
  const answer = new Promise((refused, failed) => {
    const socket = new WebSocket(url, options);
    socket.on("unexpected-response", (_, response) => {
      refused({ status: response.statusCode, headers: response.headers });
      socket.on("error", () => {}); // `terminate` before the opening handshake is done reports itself
      socket.terminate();
    });
    socket.on("open", () => failed(new Error("the server accepted the upgrade")));
    socket.on("error", failed);
  });
  return soon(answer, "a refusal");
}

describe("the raw wire", () => {
  test("an entry is one message: text for text and JSON, binary for the rest", async () => {
    for (const [body, message] of [
      ["héllo ✓", "héllo ✓"],
      [{ n: 1 }, '{"n":1}'],
      [Uint8Array.of(0, 255, 128), Buffer.of(0, 255, 128)],
    ]) {
      const channel = new Channel(server);
      const socket = await open(channel.ws);
      await channel.publish(body);
      assert.deepEqual(await socket.messages.next("the entry"), message);
      socket.close();
    }
  });

  test("a line starts at the tail unless it says otherwise", async () => {
    const channel = new Channel(server);
    const first = await channel.publish("one");
    await channel.publish("two");
    const [tail, beginning, resumed, last] = await Promise.all(
      ["", "?offset=-1", `?offset=${first}`, "?last=1"].map((query) => open(channel.ws + query)),
    );
    await channel.publish("three");
    assert.deepEqual(await tail.messages.take(1), ["three"]);
    assert.deepEqual(await beginning.messages.take(3), ["one", "two", "three"]);
    assert.deepEqual(await resumed.messages.take(2), ["two", "three"]);
    assert.deepEqual(await last.messages.take(2), ["two", "three"]);
    for (const socket of [tail, beginning, resumed, last]) socket.close();
  });

  test("what a line sends reaches the other lines and the log", async () => {
    const channel = new Channel(server);
    await channel.publish("from http");
    const [speaker, listener] = [await open(channel.ws), await open(channel.ws)];
    speaker.send("whole");
    speaker.send("in ", { fin: false });
    speaker.send("three ", { fin: false });
    speaker.send("frames", { fin: true });
    assert.deepEqual(await listener.messages.take(2), ["whole", "in three frames"]);
    assert.equal(await (await fetch(channel.url)).text(), "from httpwholein three frames");
    for (const socket of [speaker, listener]) socket.close();
  });

  test("a line ends with 1000 when its channel is closed", async () => {
    const channel = new Channel(server);
    await channel.publish("last");
    const socket = await open(`${channel.ws}?offset=-1`);
    assert.equal(await socket.messages.next(), "last");
    await channel.close();
    assert.equal((await socket.closed()).code, 1000);
  });
});

describe("permessage-deflate (RFC 7692)", () => {
  const large = "all work and no play ".repeat(2_000);

  test("is negotiated, and carries large entries both ways", async () => {
    const channel = new Channel(server);
    const options = { perMessageDeflate: { threshold: 0 } };
    const socket = await open(channel.ws, [], options);
    assert.match(socket.extensions, /^permessage-deflate/);
    await channel.publish(large);
    assert.equal(await socket.messages.next("the entry"), large);
    socket.send(large);
    assert.equal(await socket.messages.next("its own entry"), large);
    socket.close();
  });

  test("saves most of the bytes of a large entry", async () => {
    const channel = new Channel(server);
    const socket = await open(channel.ws, [], { perMessageDeflate: true });
    const before = socket._socket.bytesRead;
    await channel.publish(large);
    await socket.messages.next("the entry");
    assert.ok(socket._socket.bytesRead - before < large.length / 10, `${socket._socket.bytesRead - before} bytes`);
    socket.close();
  });

  test("is only used by those who ask for it, and all read the same", async () => {
    const channel = new Channel(server);
    const sockets = await Promise.all([
      open(channel.ws, [], { perMessageDeflate: false }),
      open(channel.ws, [], { perMessageDeflate: { clientNoContextTakeover: true, serverNoContextTakeover: true } }),
      open(channel.ws, [], { perMessageDeflate: { serverMaxWindowBits: 9, clientMaxWindowBits: 9 } }),
    ]);
    assert.equal(sockets[0].extensions, "");
    const random = randomBytes(20_000).toString("base64");
    await channel.publish(large);
    await channel.publish(random);
    for (const socket of sockets) {
      assert.deepEqual(await socket.messages.take(2), [large, random], socket.extensions);
      socket.close();
    }
  });
});

describe("the opening handshake (RFC 6455, section 4)", () => {
  test("a name that is none is refused with 400", async () => {
    assert.equal((await refusal(`${server.ws}/channels/a//b`)).status, 400);
  });

  test("another version is refused with 426 and the version that is spoken", async () => {
    const { status, headers } = await refusal(new Channel(server).ws, { protocolVersion: 8 });
    assert.equal(status, 426);
    assert.equal(headers["sec-websocket-version"], "13");
  });

  test("of the subprotocols that a client offers, only the one that is known is chosen", async () => {
    const socket = await open(new Channel(server).ws, ["chat", "everwire.v1", "mqtt"]);
    assert.equal(socket.protocol, "everwire.v1");
    socket.close();
  });
});

describe("pings, limits and the closing handshake", () => {
  test("a ping is answered with its own payload", async () => {
    const socket = await open(new Channel(server).ws);
    for (const payload of ["", "are you there?", "x".repeat(125)]) {
      socket.ping(payload);
      assert.equal(await socket.pongs.next("the pong"), payload);
    }
    socket.close();
  });

  test("the code of a close is echoed", async () => {
    for (const code of [1000, 1001, 3000, 4999]) {
      const socket = await open(new Channel(server).ws);
      socket.close(code, "enough");
      assert.equal((await socket.closed()).code, code);
    }
  });

  test("a message above the limit fails the connection with 1009, also when it was small before inflation", async () => {
    for (const perMessageDeflate of [false, { threshold: 0 }]) {
      const socket = await open(new Channel(server).ws, [], { perMessageDeflate });
      socket.send("x".repeat(MESSAGE_BYTES_MAX + 1));
      assert.equal((await socket.closed()).code, 1009);
    }
  });

  test("a message of exactly the limit is published", async () => {
    const channel = new Channel(server);
    const socket = await open(channel.ws);
    const entry = "x".repeat(MESSAGE_BYTES_MAX);
    socket.send(entry);
    assert.equal(await socket.messages.next("the entry"), entry);
    socket.close();
  });

  test("a server that is stopped closes with 1001", async (t) => {
    const other = await startServer();
    t.after(() => other.stop());
    const socket = await open(new Channel(other).ws);
    assert.equal(await other.stop("SIGTERM"), 0);
    assert.equal((await socket.closed()).code, 1001);
  });
});

describe("the session form, everwire.v1", () => {
  test("an entry names its channel, offset and time", async () => {
    const channel = new Channel(server);
    const session = await openSession(channel.ws);
    const offset = await channel.publish({ text: "hi" }, { "everwire-event": "greeting" });
    const entry = await session.nextEvent("the entry");
    assert.ok(Math.abs(entry.time - Date.now()) < 60_000, "time is in milliseconds since 1970");
    const { name } = channel;
    assert.deepEqual(entry, { ev: "entry", channel: name, offset, time: entry.time, event: "greeting", data: { text: "hi" } });
    session.close();
  });

  test("a text entry is a JSON string, and a binary one is base64 in data64", async () => {
    const texts = new Channel(server);
    const session = await openSession(texts.ws);
    await texts.publish('say "hi"\n');
    assert.equal((await session.nextEvent("the entry")).data, 'say "hi"\n');
    session.close();

    const bytes = new Channel(server);
    const binary = await openSession(bytes.ws);
    await bytes.publish(Uint8Array.of(0, 255, 128));
    assert.equal((await binary.nextEvent("the entry")).data64, "AP+A");
    binary.close();
  });

  test("?offset= resumes after the entry that it names", async () => {
    const channel = new Channel(server);
    const first = await channel.publish({ n: 1 });
    const second = await channel.publish({ n: 2 });
    const session = await openSession(`${channel.ws}?offset=${first}`);
    const entry = await session.nextEvent("the entry");
    assert.deepEqual([entry.offset, entry.data], [second, { n: 2 }]);
    session.close();
  });

  test("a closed channel is an event, not the end of the line's messages", async () => {
    const channel = new Channel(server);
    await channel.publish({ n: 1 });
    const session = await openSession(channel.ws);
    await channel.close();
    const closed = await session.nextEvent("closed");
    assert.deepEqual([closed.ev, closed.channel], ["closed", channel.name]);
    session.close();
  });

  test("an offset from an earlier life of the server is a gap, and then come the entries that exist", async (t) => {
    const first = await startServer();
    t.after(() => first.stop());
    const channel = new Channel(first);
    const offset = await channel.publish({ life: 1 });
    await first.stop();

    const second = await restart(first);
    t.after(() => second.stop());
    const newest = await channel.publish({ life: 2 });
    const session = await openSession(`${channel.ws}?offset=${offset}`);
    const gap = await session.nextEvent("the gap");
    assert.deepEqual([gap.ev, gap.channel, gap.newest], ["gap", channel.name, newest]);
    const entry = await session.nextEvent("the entry after the gap");
    assert.deepEqual([entry.ev, entry.offset, entry.data], ["entry", newest, { life: 2 }]);
    session.close();

    const strict = new WebSocket(`${channel.ws}?offset=${offset}&on_gap=fail`, ["everwire.v1"]);
    const outcome = new Promise((done) => {
      strict.on("unexpected-response", (_, response) => done(response.statusCode));
      strict.on("close", (code) => done(code));
      strict.on("error", () => {});
    });
    assert.ok([410, 4410].includes(await soon(outcome, "a refusal or a close")), `ended with ${await outcome}`);
  });

  test("what is no JSON object closes the line with 4400", async () => {
    for (const message of ["not json", "[1,2]", "7"]) {
      const session = await openSession(new Channel(server).ws);
      session.send(message);
      assert.equal((await session.closed()).code, 4400, message);
    }
  });

  test("a server that is stopped says when to come back, and closes with 1001", async (t) => {
    const other = await startServer();
    t.after(() => other.stop());
    const session = await openSession(new Channel(other).ws);
    const stopped = other.stop("SIGTERM");
    const drain = await session.nextEvent("drain");
    assert.equal(drain.ev, "drain");
    assert.ok(drain.after_ms >= 0);
    assert.equal((await session.closed()).code, 1001);
    assert.equal(await stopped, 0);
  });
});

describe("a line that is cut again and again", () => {
  test("sees each entry once, in order, when it resumes from the last offset it saw", async (t) => {
    const TOTAL = 2_000;
    const channel = new Channel(server);
    let offset = await channel.publish({ n: 0 });
    const proxy = await startProxy(server);
    t.after(() => proxy.stop());
    const seen = [];
    let cuts = 0;

    const publishing = (async () => {
      for (let n = 1; n <= TOTAL; n += 1) await channel.publish({ n });
    })();
    while (seen.at(-1) !== TOTAL) {
      const session = await openSession(`${proxy.ws}${channel.path}?offset=${offset}`);
      // Cut in the middle of the flow: after a few entries of this connection, each time a different number.
      const until = seen.length + 50 + 37 * (cuts % 7);
      while (seen.length < until && seen.at(-1) !== TOTAL) {
        const entry = await session.nextEvent("an entry");
        assert.equal(entry.ev, "entry", JSON.stringify(entry));
        offset = entry.offset;
        seen.push(entry.data.n);
      }
      session.on("error", () => {}); // the reset that this test causes
      proxy.cut();
      await session.closed();
      cuts += 1;
    }
    await publishing;
    assert.deepEqual(seen, Array.from({ length: TOTAL }, (_, i) => i + 1));
    assert.ok(cuts >= 5, `${cuts} cuts`);
  });
});
