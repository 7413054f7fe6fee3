// The event stream as an EventSource sees it: reconnection by itself, from the last id that it was given.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { EventSource } from "eventsource";
import { startServer } from "../server.mjs";
import { Channel, restart } from "./channel.mjs";
import { Inbox, soon } from "./inbox.mjs";
import { startProxy } from "./proxy.mjs";

// A reader that was cut off comes back at once.
const CONFIG = "[http]\nretry_ms = 20\n";

let server;
before(async () => (server = await startServer({ config: CONFIG })));
after(() => server?.stop());

/** An open EventSource with its events in an inbox; it would reconnect forever, so it ends with its test. */
async function open(t, url, names = []) {
  const source = new EventSource(url);
  t.after(() => source.close());
  source.events = new Inbox();
  for (const name of ["message", ...names]) {
    source.addEventListener(name, ({ type, data, lastEventId }) => source.events.put({ type, data, id: lastEventId }));
  }
  const opening = new Promise((opened, failed) => {
    source.onopen = opened;
    source.onerror = ({ message }) => failed(new Error(message));
  });
  await soon(opening, "an open event stream");
  source.onerror = null;
  return source;
}

describe("events", () => {
  test("carry the entry as data and its offset as id", async (t) => {
    const channel = new Channel(server);
    const source = await open(t, channel.url);
    const id = await channel.publish({ n: 1 });
    assert.deepEqual(await source.events.next("the entry"), { type: "message", data: '{"n":1}', id });
  });

  test("bear the name that the publisher gave them", async (t) => {
    const channel = new Channel(server);
    const source = await open(t, channel.url, ["typing"]);
    await channel.publish("ada", { "everwire-event": "typing" });
    await channel.publish("hello");
    const [typing, message] = await source.events.take(2);
    assert.deepEqual([typing.type, typing.data], ["typing", "ada"]);
    assert.deepEqual([message.type, message.data], ["message", "hello"]);
  });

  test("keep every line of a text, and no text can pass for a field", async (t) => {
    const channel = new Channel(server);
    const source = await open(t, channel.url, ["forged"]);
    const forged = ["id: 7\nevent: forged\ndata: x", "\n\nevent: forged", ": comment"];
    const texts = ["one\ntwo", "\n", " leading space", "tab\tend ", ...forged];
    for (const text of texts) await channel.publish(text);
    const events = await source.events.take(texts.length);
    assert.deepEqual(events.map(({ type, data }) => [type, data]), texts.map((text) => ["message", text]));
  });

  test("break lines where CR or CRLF stand, since the format knows no other way to carry them", async (t) => {
    const channel = new Channel(server);
    const source = await open(t, channel.url, ["forged"]);
    await channel.publish("a\rb\r\nc\revent: forged");
    assert.deepEqual((await source.events.next()).data, "a\nb\nc\nevent: forged");
  });
});

describe("reconnection", () => {
  test("loses nothing and doubles nothing, however often the connection is cut", async (t) => {
    const TOTAL = 200;
    const channel = new Channel(server);
    const proxy = await startProxy(server);
    t.after(() => proxy.stop());
    // The first entry is there before any connection is cut, so that there is an id to resume from.
    await channel.publish({ n: 0 });
    const source = await open(t, `${proxy.url}${channel.path}?offset=-1`);
    const seen = [];
    for (let n = 1; n <= TOTAL; n += 1) {
      await channel.publish({ n });
      // The last of these goes out while nobody is connected.
      if (n % 50 === 0) proxy.cut();
    }
    while (seen.at(-1) !== TOTAL) seen.push(JSON.parse((await source.events.next(`entry after ${seen.at(-1)}`)).data).n);
    assert.deepEqual(seen, Array.from({ length: TOTAL + 1 }, (_, n) => n));
    assert.ok(proxy.accepted() > 1, "the connection was cut");
  });

  test("brings what was published while nobody could connect", async (t) => {
    const channel = new Channel(server);
    const proxy = await startProxy(server);
    t.after(() => proxy.stop());
    const source = await open(t, proxy.url + channel.path);
    await channel.publish("before");
    await source.events.next();
    proxy.break();
    for (const text of ["while", "nobody", "was there"]) await channel.publish(text);
    proxy.mend();
    const events = await source.events.take(3);
    assert.deepEqual(events.map(({ data }) => data), ["while", "nobody", "was there"]);
  });

  test("after the server lost its memory starts with a gap, and then the entries that exist", async (t) => {
    const first = await startServer({ config: CONFIG });
    t.after(() => first.stop());
    const channel = new Channel(first);
    const source = await open(t, channel.url, ["gap"]);
    await channel.publish({ life: 1 });
    await source.events.next();
    await first.stop();
    const second = await restart(first, { config: CONFIG });
    try {
      await channel.publish({ life: 2 });
      const [gap, entry] = await source.events.take(2);
      assert.equal(gap.type, "gap");
      assert.deepEqual([entry.type, entry.data], ["message", '{"life":2}']);
    } finally {
        await second.stop();
    }
  });

  test("stops for good at a closed channel", async (t) => {
    const channel = new Channel(server);
    const source = await open(t, channel.url, ["closed"]);
    await channel.publish("last");
    await source.events.next();
    const stopped = new Promise((done) => (source.onerror = () => source.readyState === EventSource.CLOSED && done()));
    await channel.close();
    assert.equal((await source.events.next("closed")).type, "closed");
    await soon(stopped, "the end of reconnecting"); // its reconnection was answered with 204 (HTML, section 9.2.3)
  });
});
