/** What a program does with channels. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";
import { connect } from "../src/connect.js";
import { EverwireError } from "../src/error.js";
import { WIRES } from "../src/settings.js";
import { World } from "./world.js";

async function opened(): Promise<World> {
  const world = new World();
  world.connect({ readerEntriesMax: 10 });
  await world.advance(1);
  return world;
}

test("a loop that is left goes on later where it was left", async () => {
  const world = await opened();
  const lobby = world.line.channel("lobby", { offset: "-1" });
  for (let n = 1; n <= 5; n += 1) world.server.append("lobby", n);
  const seen: unknown[] = [];
  const read = async (most: number) => {
    for await (const entry of lobby) if (seen.push(entry.data) === most) break;
  };
  const first = read(2);
  await world.advance(1);
  await first;
  world.server.append("lobby", 6);
  const second = read(6);
  await world.advance(1);
  await second;
  assert.deepEqual(seen, [1, 2, 3, 4, 5, 6]);
});

test("a loop that does not keep up leaves the channel instead of filling the memory, and misses nothing", async () => {
  const world = await opened();
  const loop = world.line.channel("busy", { offset: "-1" })[Symbol.asyncIterator]();
  await world.advance(1);
  for (let n = 0; n < 100; n += 1) world.server.append("busy", n);
  await world.advance(1);
  for (let n = 100; n < 200; n += 1) world.server.append("busy", n);
  await world.advance(1);
  assert.deepEqual([...world.server.sessions.values()].map((session) => session.channels), [[]], "the channel was left");
  const seen: unknown[] = [];
  for (let n = 0; n < 200; n += 1) {
    const next = loop.next();
    await world.advance(1);
    seen.push((await next).value?.data);
  }
  assert.deepEqual(seen, Array.from({ length: 200 }, (_, n) => n));
});

test("a loop over a channel that may not be read throws the server's words", async () => {
  const world = await opened();
  const next = world.line.channel("secret/plans")[Symbol.asyncIterator]().next();
  const refused = assert.rejects(next, (error) => error instanceof EverwireError && error.code === "refused" && /not for you/.test(error.message));
  await world.advance(1);
  await refused;
});

test("closing the line ends loops, and rejects what waits", async () => {
  const world = new World();
  world.server.up = false;
  const line = world.connect();
  const next = line.channel("a")[Symbol.asyncIterator]().next();
  const rejected = assert.rejects(line.channel("a").publish(1), { code: "closed" });
  line.close();
  assert.equal((await next).done, true);
  await rejected;
  await assert.rejects(line.channel("b").publish(1), { code: "closed" });
  assert.equal((await line.channel("b")[Symbol.asyncIterator]().next()).done, true);
});

/** Values that JSON changes without a word, or refuses. */
const UNHELD: readonly unknown[] = [
  ...[undefined, () => {}, async () => {}, Symbol("a"), 1n, NaN, -Infinity, new Map([[1, 2]]), new Set([1]), new WeakMap()],
  ...[Promise.resolve(1), /a/, new Error("a"), new URLSearchParams("a=1"), new SharedArrayBuffer(1), globalThis],
];

test("data that JSON cannot hold is refused at once, wherever in it that is", async () => {
  const world = await opened();
  const cyclic: Record<string, unknown> = {};
  cyclic.self = cyclic;
  const nested = UNHELD.flatMap((value) => [[value], ...(value === undefined ? [] : [{ a: { b: value } }])]);
  for (const data of [...UNHELD, ...nested, cyclic, [new ArrayBuffer(1)], { a: Uint8Array.of(1) }]) {
    await assert.rejects(world.line.channel("a").publish(data as never), { code: "bad-data" }, inspect(data));
  }
  assert.throws(() => world.line.channel("b", { presence: { info: new Map() as never } }), { code: "bad-data" });
  await world.advance(1);
  assert.deepEqual(world.log("a"), []);
});

test("data that JSON holds arrives as JSON has it", async () => {
  const world = await opened();
  class Point {
    x = 1;
  }
  const date = new Date(0);
  const values = ["", -0, false, [], { a: undefined, b: null }, new Point(), date, Object.create(null), "\ud83d", new URL("a:b")];
  for (const value of values) void world.line.channel("a").publish(value as never);
  await world.advance(1);
  assert.deepEqual(world.log("a"), ["", 0, false, [], { b: null }, { x: 1 }, date.toJSON(), {}, "\ud83d", "a:b"]);
});

test("all kinds of bytes are bytes", async () => {
  const world = await opened();
  const buffer = Uint8Array.of(9, 0, 127, 255, 9).buffer;
  const channel = world.line.channel("a");
  const blob = channel.publish(new Blob([Uint8Array.of(0, 127, 255)]));
  for (const bytes of [buffer.slice(1, 4), new DataView(buffer, 1, 3), new Uint8ClampedArray(buffer, 1, 3), Buffer.from(buffer, 1, 3), new Uint16Array([0x7f00])]) {
    void channel.publish(bytes);
  }
  void channel.publish(new ArrayBuffer(0));
  await new Promise((resolve) => setImmediate(resolve));
  await world.advance(1);
  await blob;
  assert.deepEqual(world.log("a").sort(), ["", "AH8=", "AH//", "AH//", "AH//", "AH//", "AH//"].sort());
});

test("a message that is too large by itself is told from too many", async () => {
  const world = new World();
  const line = world.connect({ queueCharsMax: 1000 });
  const channel = line.channel("a");
  await assert.rejects(channel.publish("x".repeat(1001)), { code: "too-large" });
  const first = channel.publish("x".repeat(500));
  await assert.rejects(channel.publish("x".repeat(500)), { code: "queue-full" });
  await world.advance(1);
  await first;
});

test("an address that is none is told at once", () => {
  for (const url of ["", "localhost:8080", "//example.org", "/", "ftp://h", "https://", "https://h/?a=1", "https://h/#a", "https://me@h", undefined, 7, {}]) {
    assert.throws(() => connect(url as never), TypeError, String(url));
  }
  const asked: string[] = [];
  const fetch = async (url: string) => {
    asked.push(url.split("?")[0]!);
    throw new Error("nobody");
  };
  const options = { wires: ["ndjson"], environment: { fetch, storage: undefined, WebSocket: undefined } } as const;
  for (const url of ["http://h", "ws://h:80/", new URL("wss://h/live//"), "HTTPS://H"]) connect(url, options).close();
  // On a page, what is relative begins there.
  Object.assign(globalThis, { location: { toString: () => "https://page.example/app/index.html" } });
  for (const url of ["/", "/live", "live/"]) connect(url, options).close();
  delete (globalThis as { location?: unknown }).location;
  const page = "https://page.example";
  assert.deepEqual(asked, [
    ...["http://h/connect", "http://h/connect", "https://h/live/connect", "https://h/connect"],
    ...[`${page}/connect`, `${page}/live/connect`, `${page}/app/live/connect`],
  ]);
});

test("a message that cannot be read ends no line, and no other channel is disturbed", async () => {
  for (const wire of ["websocket", "event-stream", "ndjson", "long-poll"] as const) {
    const world = new World();
    world.connect({ wires: [wire] });
    const seen: unknown[] = [];
    world.line.channel("a").on("entry", ({ data }) => seen.push(data));
    await world.advance(1);
    const sessions = [...world.server.sessions.keys()];
    for (const bad of [{ ev: "entry", channel: "a" }, { ev: "entry", channel: "a", offset: "1", data64: "???" }, { ev: 1 }, 7]) {
      world.server.sessions.get(sessions[0]!)!.sink.message(bad as never);
      world.server.append("a", JSON.stringify(bad), null as never);
      await world.advance(50);
    }
    assert.equal(seen.length, 4, wire);
    assert.deepEqual([...world.server.sessions.keys()], sessions, wire);
  }
});

test("data is taken as it is when it is published, since a key must not come with other content", async () => {
  const world = new World();
  world.server.up = false;
  const line = world.connect();
  const data = { text: "before" };
  const publication = line.channel("a").publish(data);
  data.text = "after";
  world.server.up = true;
  await world.advance(5_000);
  await publication;
  assert.deepEqual(world.log("a"), [{ text: "before" }]);
});

test("bytes go up and come down as base64", async () => {
  const world = await opened();
  void world.line.channel("a").publish(Uint8Array.of(0, 127, 255));
  await world.advance(1);
  assert.deepEqual(world.log("a"), ["AH//"]);
  const seen: unknown[] = [];
  world.line.channel("b").on("entry", (entry) => seen.push(entry.data));
  await world.advance(1);
  const [session] = world.server.sessions.values();
  session!.sink.message({ ev: "entry", channel: "b", offset: "1", time: 1, data64: "AH//" });
  await world.advance(1);
  assert.deepEqual(seen, [Uint8Array.of(0, 127, 255)]);
});

test("a channel without echo leaves out what its own line published, also when it is read again", async () => {
  const world = await opened();
  const seen: Record<string, unknown[]> = { with: [], without: [] };
  world.line.channel("a").on("entry", ({ data }) => seen.with!.push(data));
  const without = world.line.channel("b", { echo: false, offset: "-1" });
  const off = without.on("entry", ({ data }) => seen.without!.push(data));
  await world.advance(1);
  for (const name of ["a", "b"]) {
    void world.line.channel(name).publish("mine");
    world.server.append(name, "theirs", "somebody else");
  }
  await world.advance(1);
  off();
  await world.advance(1);
  void without.publish("mine too");
  await world.advance(1);
  world.server.append("b", "theirs too");
  without.on("entry", ({ data }) => seen.without!.push(data));
  await world.advance(1);
  assert.deepEqual(seen, { with: ["theirs", "mine"], without: ["theirs", "theirs too"] });
});

test("the publisher is random, unless the program names it", () => {
  const world = new World();
  assert.match(world.connect().publisher, /^[\x21-\x7e]{1,64}$/);
  world.random = () => 0.7;
  assert.notEqual(world.connect().publisher, world.connect({ publisher: "page" }).publisher);
  assert.equal(world.line.publisher, "page");
});

test("history comes in pages, and tells where the next one starts", async () => {
  const world = await opened();
  for (let n = 1; n <= 5; n += 1) world.server.append("a", n);
  const channel = world.line.channel<number>("a");
  const ask = async (query: object) => {
    const asked = channel.history(query);
    await world.advance(1);
    const { entries, offset, upToDate } = await asked;
    return { page: entries.map(({ data }) => data), offset, upToDate };
  };
  const first = await ask({ limit: 3 });
  assert.deepEqual([first.page, first.upToDate], [[1, 2, 3], false]);
  const second = await ask({ limit: 3, offset: first.offset });
  assert.deepEqual([second.page, second.upToDate], [[4, 5], true]);
  assert.deepEqual((await ask({ last: 1 })).page, [5]);
});

test("a channel that was closed does not take the new one of its name with it", async () => {
  const world = await opened();
  const old = world.line.channel("a");
  old.close();
  const fresh = world.line.channel("a");
  old.close();
  assert.notEqual(fresh, old);
  assert.equal(world.line.channel("a"), fresh);
});

for (const wire of WIRES) {
  test(`over ${wire}, a message that is too large for the server is rejected, and not sent for ever`, async () => {
    const world = new World();
    world.connect({ wires: [wire] });
    await world.advance(1);
    world.server.messageCharsMax = 1_000;
    const small = world.line.channel("a").publish("small");
    const large = world.line.channel("a").publish("large".repeat(1_000));
    const refused = assert.rejects(large, { code: "too-large" });
    await world.advance(5_000);
    await refused;
    await small;
    assert.deepEqual(world.log("a"), ["small"]);
  });
}

test("a listener that throws does not harm the line or the other listeners", async () => {
  const world = await opened();
  const thrown: unknown[] = [];
  process.setUncaughtExceptionCaptureCallback((error) => thrown.push(error));
  const seen: unknown[] = [];
  const channel = world.line.channel("a");
  channel.on("entry", () => {
    throw new Error("the program's own");
  });
  channel.on("entry", (entry) => seen.push(entry.data));
  await world.advance(1);
  world.server.append("a", 1);
  await world.advance(1);
  process.setUncaughtExceptionCaptureCallback(null);
  assert.deepEqual(seen, [1]);
  assert.equal(thrown.length, 1);
  assert.equal(world.line.wire, "websocket");
});
