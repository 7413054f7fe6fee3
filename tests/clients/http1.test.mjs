// HTTP/1.1 byte by byte: what clients and proxies may send, however they cut it, and what nobody may send.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startServer } from "../server.mjs";
import { Channel } from "./channel.mjs";
import { Connection } from "./connection.mjs";

const CONFIG = `
[[rules]]
match = "short/**"
retain_bytes = 2000000
`;

let server;
before(async () => (server = await startServer({ config: CONFIG })));
after(() => server?.stop());

/** A connection that ends with its test. */
async function open(t) {
  const connection = await Connection.open(server);
  t.after(() => connection.close());
  return connection;
}

const get = (path, fields = "") => `GET ${path} HTTP/1.1\r\nhost: ${server.host}\r\n${fields}\r\n`;

const postHead = (path, fields) =>
  `POST ${path} HTTP/1.1\r\nhost: ${server.host}\r\ncontent-type: text/plain\r\n${fields}\r\n`;

const post = (path, body, fields = "") => `${postHead(path, `content-length: ${body.length}\r\n${fields}`)}${body}`;

const eventStream = (path) => get(path, "accept: text/event-stream\r\n");

const UPGRADE = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n";
const KEY = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const upgrade = (path) => get(path, UPGRADE + KEY);
// RFC 6455, section 1.3 names both the key and the answer to it.
const ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/** A text frame as a client sends it; the masking key is zero, so that the payload stays readable. */
const frame = (text) => Buffer.concat([Buffer.of(0x81, 0x80 | text.length, 0, 0, 0, 0), Buffer.from(text)]);

describe("requests that arrive in any pieces", () => {
  const requests = {
    "a catch-up read": (path) => get(path),
    "an append": (path) => post(path, "more"),
    "an event stream": (path) => eventStream(path),
    "an opening handshake": (path) => upgrade(path),
  };
  for (const [what, request] of Object.entries(requests)) {
    test(`${what} means the same, cut at every byte`, async () => {
      const channel = new Channel(server);
      await channel.publish("text");
      const bytes = Buffer.from(request(channel.path));
      const whole = await answer([bytes]);
      for (let at = 1; at < bytes.length; at += 1) {
        assert.deepEqual(await answer([bytes.subarray(0, at), bytes.subarray(at)]), whole, `cut at byte ${at}`);
      }
    });
  }

  async function answer(pieces) {
    const connection = await Connection.open(server);
    for (const piece of pieces) {
      await connection.write(piece);
      await new Promise(setImmediate);
    }
    const { status, headers } = await connection.head();
    connection.close();
    // What differs from one append to the next.
    for (const name of ["date", "stream-next-offset", "etag", "stream-cursor"]) delete headers[name];
    return { status, headers };
  }

  test("frames that come with the opening handshake, in the same packet, are read", async (t) => {
    const channel = new Channel(server);
    const connection = await open(t);
    await connection.write(Buffer.concat([Buffer.from(upgrade(channel.path)), frame("early"), frame("bird")]));
    const { status, headers } = await connection.head();
    assert.equal(status, 101);
    assert.equal(headers["sec-websocket-accept"], ACCEPT);
    // The line hears itself: unmasked text frames (RFC 6455, section 5.1).
    assert.deepEqual(await connection.bytes(13), Buffer.from("\x81\x05early\x81\x04bird", "latin1"));
    assert.equal(await (await fetch(channel.url)).text(), "earlybird");
  });
});

describe("pipelined requests are answered in order (RFC 9112, section 9.3.2)", () => {
  test("an append, and the read that follows it", async (t) => {
    const { path } = new Channel(server);
    const connection = await open(t);
    await connection.write(post(path, "one") + post(path, "two") + get(path));
    assert.equal((await connection.response()).status, 204);
    assert.equal((await connection.response()).status, 204);
    assert.equal((await connection.response()).body, "onetwo");
  });

  test("a read, and an event stream behind it", async (t) => {
    const channel = new Channel(server);
    const offset = await channel.publish("x".repeat(300_000));
    await channel.publish("next");
    const connection = await open(t);
    await connection.write(get(channel.path) + eventStream(`${channel.path}?offset=${offset}`));
    assert.equal((await connection.response()).body.length, 300_004);
    assert.equal((await connection.head()).status, 200);
    await connection.through("data: next\n");
  });

  test("an append, and an opening handshake behind it", async (t) => {
    const channel = new Channel(server);
    const connection = await open(t);
    await connection.write(post(channel.path, "one") + upgrade(`${channel.path}?offset=-1`));
    assert.equal((await connection.response()).status, 204);
    assert.equal((await connection.head()).status, 101);
    assert.deepEqual(await connection.bytes(5), Buffer.from("\x81\x03one", "latin1"));
  });

  test("a parked long poll, and the requests behind it", async (t) => {
    const channel = new Channel(server);
    const offset = await channel.publish("one");
    const connection = await open(t);
    const poll = get(`${channel.path}?offset=${offset}&live=long-poll`);
    await connection.write(poll + poll + get(channel.path));
    await channel.publish("two");
    assert.equal((await connection.response()).body, "two");
    assert.equal((await connection.response()).body, "two");
    assert.equal((await connection.response()).body, "onetwo");
  });
});

describe("connections", () => {
  test("an answered long poll leaves the connection open for what comes next", async (t) => {
    const channel = new Channel(server);
    let offset = await channel.publish("0");
    const connection = await open(t);
    for (const text of ["1", "2", "3"]) {
      await connection.write(get(`${channel.path}?offset=${offset}&live=long-poll`));
      offset = await channel.publish(text);
      assert.equal((await connection.response()).body, text);
      await connection.write(get(channel.path, "accept-encoding: identity\r\n"));
      assert.ok((await connection.response()).body.endsWith(text));
    }
  });

  test("a parked poll whose client asked to close is answered, and then the connection ends", async (t) => {
    const channel = new Channel(server);
    const offset = await channel.publish("one");
    const connection = await open(t);
    await connection.write(get(`${channel.path}?offset=${offset}&live=long-poll`, "connection: close\r\n"));
    await channel.publish("two");
    const { headers, body } = await connection.response();
    assert.equal(body, "two");
    assert.equal(headers.connection, "close");
    assert.equal((await connection.end()).length, 0);
  });

  test("an HTTP/1.0 client gets an event stream without chunks, which it could not read", async (t) => {
    const channel = new Channel(server);
    const connection = await open(t);
    await connection.write(`GET ${channel.path} HTTP/1.0\r\nhost: ${server.host}\r\naccept: text/event-stream\r\n\r\n`);
    const { status, headers } = await connection.head();
    assert.equal(status, 200);
    assert.equal(headers["transfer-encoding"], undefined, "RFC 9112, section 6.1");
    const offset = await channel.publish("one");
    assert.ok((await connection.through("data: one\n\n")).toString().endsWith(`id: ${offset}\ndata: one\n\n`));
    await channel.close();
    assert.match((await connection.end()).toString(), /event: closed\n/);
  });

  test("an event stream's chunks follow one another without a byte between them", async (t) => {
    const channel = new Channel(server);
    const connection = await open(t);
    await connection.write(eventStream(channel.path));
    assert.equal((await connection.head()).headers["transfer-encoding"], "chunked");
    for (let n = 0; n < 20; n += 1) await channel.publish("x".repeat(n * 1_000 + 1));
    await channel.close();
    let text = "";
    for (let chunk; (chunk = await connection.chunk()).length > 0; ) text += chunk;
    assert.deepEqual(
      [...text.matchAll(/^data: (x+)$/gm)].map(([, data]) => data.length),
      Array.from({ length: 20 }, (_, n) => n * 1_000 + 1),
    );
  });

  test("readers that vanish leave nothing behind that disturbs the others", async (t) => {
    const channel = new Channel(server);
    const offset = await channel.publish("0");
    const kept = await open(t);
    await kept.write(eventStream(`${channel.path}?offset=${offset}`));
    await kept.head();
    for (let n = 1; n <= 30; n += 1) {
      const gone = await Connection.open(server);
      const poll = get(`${channel.path}?offset=now&live=long-poll`);
      await gone.write([eventStream(channel.path), upgrade(channel.path), poll][n % 3]);
      gone.reset();
      await channel.publish(`${n}`);
    }
    const text = (await kept.through("data: 30\n")).toString();
    const numbers = [...text.matchAll(/^data: (\d+)$/gm)].map(([, n]) => Number(n));
    assert.deepEqual(numbers, Array.from({ length: 30 }, (_, i) => i + 1));
  });
});

describe("a reader that stops reading for a while", () => {
  // More than the kernel buffers for one connection, and than the channels below `short/` keep.
  const LATE_BYTES = 24_000_000;

  /** Opens an event stream, lets LATE_BYTES of entries pass by without reading, and gives the connection and their number. */
  async function openLate(t, channel, entryBytes) {
    const offset = await channel.publish({ n: -1 });
    const connection = await open(t);
    await connection.write(eventStream(`${channel.path}?offset=${offset}`));
    await connection.head();
    connection.pause();
    const count = Math.floor(LATE_BYTES / entryBytes);
    const filling = "x".repeat(entryBytes);
    for (let n = 0; n < count; ) {
      const batch = [];
      while (n < count && batch.length * entryBytes < 300_000) batch.push({ n: n++, filling });
      await channel.publish(batch);
    }
    connection.resume();
    return { connection, count };
  }

  /** The numbers of the entries in an event stream's bytes, and those among them that follow a gap. */
  function numbersAndGaps(bytes) {
    const numbers = [];
    const gaps = [];
    let afterGap = false;
    for (const [, event, n] of bytes.toString().matchAll(/^(?:event: (\w+)|data: ?\{"n":(\d+),.*\}$)/gm)) {
      if (event === "gap") afterGap = true;
      if (n === undefined) continue;
      if (afterGap) gaps.push(Number(n));
      numbers.push(Number(n));
      afterGap = false;
    }
    return { numbers, gaps };
  }

  /** Entries may be missing only where a gap says so. */
  function assertHonest({ numbers, gaps }, count) {
    assert.ok(gaps.length > 0, "there is a gap");
    assert.equal(numbers.at(-1), count - 1);
    numbers.forEach((n, i) => {
      const before = numbers[i - 1] ?? -1;
      assert.ok(n === before + 1 || (n > before && gaps.includes(n)), `${n} after ${before}, with gaps before ${gaps}`);
    });
  }

  test("gets every entry when it goes on", async (t) => {
    const { connection, count } = await openLate(t, new Channel(server), 16_000);
    const { numbers, gaps } = numbersAndGaps(await connection.through(`{"n":${count - 1},"filling":"x`));
    assert.deepEqual(numbers, Array.from({ length: count - 1 }, (_, n) => n));
    assert.deepEqual(gaps, []);
  });

  test("is told where entries are missing, if the log no longer holds them", async (t) => {
    const { connection, count } = await openLate(t, new Channel(server, "short"), 3_000);
    const bytes = await connection.through(`{"n":${count - 1},"filling":"${"x".repeat(3_000)}"}\n`);
    assertHonest(numbersAndGaps(bytes), count);
  });

  test("is told so as well if it has to come back, since it was cut off inside a large entry", async (t) => {
    const channel = new Channel(server, "short");
    const { connection, count } = await openLate(t, channel, 60_000);
    const last = `{"n":${count - 1},"filling":"${"x".repeat(60_000)}"}\n`;
    let bytes = await connection.through(last, { orEnd: true });
    if (!bytes.toString().endsWith(last)) {
      assert.ok(!bytes.toString().endsWith("\r\n0\r\n\r\n"), "a body that is cut has no last chunk (RFC 9112, section 8)");
      const whole = bytes.subarray(0, bytes.lastIndexOf("\n\n") + 2);
      const [, lastEventId] = [...whole.toString().matchAll(/^id: (\S+)$/gm)].at(-1);
      const again = await open(t);
      await again.write(get(channel.path, `accept: text/event-stream\r\nlast-event-id: ${lastEventId}\r\n`));
      bytes = Buffer.concat([whole, await again.through(last)]);
    }
    assertHonest(numbersAndGaps(bytes), count);
  });
});

describe("requests as RFC 9110 and RFC 9112 allow them", () => {
  test("a chunked body, with extensions and trailers", async (t) => {
    const channel = new Channel(server);
    const connection = await open(t);
    const head = postHead(channel.path, "transfer-encoding: chunked\r\n");
    await connection.write(`${head}3\r\nabc\r\n2;name=value\r\nde\r\n0\r\ntrailer: x\r\n\r\n${get(channel.path)}`);
    assert.equal((await connection.response()).status, 204);
    assert.equal((await connection.response()).body, "abcde");
  });

  test("a body that waits for 100 Continue", async (t) => {
    const channel = new Channel(server);
    const connection = await open(t);
    const [head, body] = post(channel.path, "patient", "expect: 100-continue\r\n").split(/(?<=\r\n\r\n)/);
    await connection.write(head);
    assert.equal((await connection.response()).status, 100);
    await connection.write(body);
    assert.equal((await connection.response()).status, 204);
  });

  test("the absolute form of a request target", async (t) => {
    const channel = new Channel(server);
    await channel.publish("text");
    const connection = await open(t);
    await connection.write(get(channel.url));
    assert.equal((await connection.response()).body, "text");
  });

  test("several entity tags, weak ones, and a star", async (t) => {
    const channel = new Channel(server);
    await channel.publish("text");
    const connection = await open(t);
    await connection.write(get(channel.path));
    const { etag } = (await connection.response()).headers;
    for (const [tags, status] of [
      [`"other", ${etag}`, 304],
      [`W/${etag.replace(/^W\//, "")}`, 304],
      ["*", 304],
      ['"other"', 200],
    ]) {
      await connection.write(get(channel.path, `if-none-match: ${tags}\r\n`));
      assert.equal((await connection.response()).status, status, tags);
    }
  });

  test("names whose percent-encodings differ are one channel", async (t) => {
    const connection = await open(t);
    await connection.write(post("/channels/caf%C3%A9/%61", "text") + get("/channels/caf%c3%a9/a"));
    assert.equal((await connection.response()).status, 204);
    assert.equal((await connection.response()).body, "text");
  });

  test("Upgrade and Connection in any case and among other tokens", async (t) => {
    for (const fields of [
      "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n",
      "connection: UPGRADE\r\nupgrade: h2c, websocket\r\n",
      "connection: keep-alive\r\nconnection: upgrade\r\nupgrade: websocket\r\n",
    ]) {
      const connection = await open(t);
      await connection.write(get(new Channel(server).path, `${fields}sec-websocket-version: 13\r\n${KEY}`));
      const { status, headers } = await connection.head();
      assert.deepEqual([status, headers["sec-websocket-accept"]], [101, ACCEPT], fields);
    }
  });

  test("an Upgrade to a protocol that is not offered is answered as if it were not there", async (t) => {
    const channel = new Channel(server);
    await channel.publish("text");
    const connection = await open(t);
    await connection.write(get(channel.path, "connection: upgrade\r\nupgrade: irc/6.9\r\n"));
    assert.equal((await connection.response()).body, "text");
  });
});

describe("requests that are refused", () => {
  const path = "/channels/refused";
  const cases = [
    // [what is wrong, request, statuses that RFC 9110 and RFC 9112 allow]
    ["no Host field (RFC 9112, section 3.2)", () => `GET ${path} HTTP/1.1\r\n\r\n`, [400]],
    ["two Host fields", () => get(path, "host: other\r\n"), [400]],
    ["two lengths", () => post(path, "abc", "content-length: 4\r\n"), [400]],
    ["a length that is no number", () => `${postHead(path, "content-length: +3\r\n")}abc`, [400]],
    ["a transfer coding that is unknown", () => postHead(path, "transfer-encoding: zip\r\n"), [400, 501]],
    ["white space before a colon", () => get(path, "accept : text/plain\r\n"), [400]],
    ["a field over several lines", () => get(path, "accept: text/\r\n plain\r\n"), [400]],
    ["a header section of a megabyte", () => get(path, `x-large: ${"x".repeat(1 << 20)}\r\n`), [431]],
    ["a request target of 100 kB", () => get(`${path}?${"x".repeat(100_000)}`), [414, 431]],
    ["a version from the future", () => `GET ${path} HTTP/3.7\r\nhost: a\r\n\r\n`, [400, 505]],
    ["a handshake without a key", () => get(path, UPGRADE), [400]],
    ["a handshake with a short key", () => get(path, `${UPGRADE}sec-websocket-key: c2hvcnQ=\r\n`), [400]],
    ["a handshake by POST", () => upgrade(path).replace("GET", "POST"), [400, 405]],
    ["a handshake of version 8", () => upgrade(path).replace("version: 13", "version: 8"), [426]],
  ];
  for (const [what, request, statuses] of cases) {
    test(what, async (t) => {
      const connection = await open(t);
      await connection.write(request());
      const { status } = await connection.head();
      assert.ok(statuses.includes(status), `answered ${status}, and not ${statuses.join(" or ")}`);
    });
  }

  test("a length beside a transfer coding: not two readings of one body (RFC 9112, section 6.3)", async (t) => {
    const connection = await open(t);
    const smuggled = get("/channels/smuggled");
    const head = postHead(path, "content-length: 5\r\ntransfer-encoding: chunked\r\n");
    await connection.write(`${head}0\r\n\r\n${smuggled}`);
    const { status } = await connection.response();
    assert.equal(status, 400, "a body of no bytes, or a refusal");
    assert.equal((await connection.end()).length, 0, "the connection ends after the answer");
  });

  test("a frame that is not masked fails the connection with 1002 (RFC 6455, section 5.1)", async (t) => {
    const connection = await open(t);
    await connection.write(upgrade(path));
    assert.equal((await connection.head()).status, 101);
    await connection.write(Buffer.from("\x81\x02hi", "latin1"));
    const [opcode, , high, low] = await connection.bytes(4);
    assert.deepEqual([opcode, high * 256 + low], [0x88, 1002]);
  });
});
