// Event streams as the parsers see them that are in use elsewhere: none makes a message of what is none, loses one, or
// sees one twice.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startServer } from "../server.mjs";
import { launch } from "./browser.mjs";
import { Channel, restart } from "./channel.mjs";
import { READERS, openInPage } from "./event-stream-readers.mjs";
import { Inbox, soon } from "./inbox.mjs";
import { startProxy } from "./proxy.mjs";

// A reader that was cut off comes back at once, and what says nothing is sent a heartbeat every second.
const CONFIG = "[http]\nretry_ms = 20\nheartbeat_ms = 1000\n\n[stop]\nreconnect_ms_max = 100\n";

/** What a text becomes, as everybody should read it: the format has one kind of line's end (HTML, section 9.2.6). */
const TEXTS = [
  ["common", "hello", "hello"],
  ["of other scripts", "héllo ✓ 🎉", "héllo ✓ 🎉"],
  ["lines", "one\ntwo", "one\ntwo"],
  ["lines as Windows ends them", "one\r\ntwo", "one\ntwo"],
  ["lines as old systems ended them", "one\rtwo", "one\ntwo"],
  ["an end of a line at the end", "one\n", "one\n"],
  ["an empty line within", "one\n\ntwo", "one\n\ntwo"],
  ["an empty line first", "\none", "\none"],
  ["nothing but an end of a line", "\n", "\n"],
  ["spaces around", "  hello  ", "  hello  "],
  ["what looks like fields", "x\nid: 7\nevent: forged\nretry: 1\ndata: y", "x\nid: 7\nevent: forged\nretry: 1\ndata: y"],
  ["what looks like a comment", ": hello", ": hello"],
  ["what others take for ends of lines", "a\u2028b\u2029c\u0085d\ve\ff", "a\u2028b\u2029c\u0085d\ve\ff"],
  ["a byte order mark", "\ufeffhello", "\ufeffhello"],
  ["long", "0123456789".repeat(20_000), "0123456789".repeat(20_000)],
  ["nothing", "", ""],
];

/** What parsers get wrong by themselves, whatever a server writes: with this text they see that instead. */
const WRONG = {
  // Takes an empty first line for none, and decodes each line by itself, without its byte order mark.
  "@microsoft/fetch-event-source": {
    "an empty line first": "one",
    "nothing but an end of a line": "",
    "a byte order mark": "hello",
  },
  // The same, and takes away all spaces before a value.
  "fetch-event-stream": {
    "an empty line first": "one",
    "nothing but an end of a line": "",
    "spaces around": "hello  ",
    "a byte order mark": "hello",
  },
};

let server, browser;
before(async () => {
  server = await startServer({ config: CONFIG });
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Every reader on one URL: pairs of a name and an inbox. They end with the test. */
async function openAll(t, url) {
  const opened = Object.entries(READERS).map(([name, open]) => {
    const inbox = new Inbox();
    t.after(open(url, (event) => inbox.put(event)));
    return [name, inbox];
  });
  const page = await browser.newPage();
  t.after(() => page.close());
  const inbox = new Inbox();
  await page.goto(`${new URL(url).origin}/healthz`);
  await openInPage(page, url, (event) => inbox.put(event));
  return [...opened, ["Chromium", inbox]];
}

/** What each reader got until one said that it is the last; each failure names its reader. */
async function each(t, readers, isLast, check) {
  for (const [name, inbox] of readers) {
    await t.test(name, async () => check(await inbox.until(isLast), name));
  }
}

const isLast = ({ data }) => data === "the last";

describe("every parser", () => {
  test("sees each text as it was published, and where it stands", async (t) => {
    const channel = new Channel(server);
    const readers = await openAll(t, `${channel.url}?offset=-1`);
    const offsets = [];
    for (const [, text] of TEXTS) offsets.push(await channel.publish(text));
    await channel.publish("the last");
    await each(t, readers, isLast, (seen, name) => {
      const expected = TEXTS.map(([what, , text], n) => {
        return { type: "message", data: WRONG[name]?.[what] ?? text, id: offsets[n] };
      });
      assert.deepEqual(seen.slice(0, -1), expected);
    });
  });

  test("sees JSON on one line, whatever is in it", async (t) => {
    const channel = new Channel(server);
    const readers = await openAll(t, `${channel.url}?offset=-1`);
    const values = [{ n: 1 }, { ends: ["\u2028\u2029\u0085", "\n\r\v\f", ""] }, null, "the last"];
    for (const value of values) {
      const body = JSON.stringify(value, null, 2).replaceAll("\n", "\r\n");
      await channel.publish(new TextEncoder().encode(body), { "content-type": "application/json" });
    }
    const isLast = ({ data }) => data === '"the last"';
    await each(t, readers, isLast, (seen) => {
      assert.deepEqual(seen.map(({ data }) => JSON.parse(data)), values);
      for (const { data } of seen) assert.doesNotMatch(data, /[\n\r\v\f\u0085\u2028\u2029]/);
    });
  });

  test("sees entries of several kinds and names", async (t) => {
    const channel = new Channel(server);
    await fetch(channel.url, { method: "PUT" });
    const readers = await openAll(t, `${channel.url}?offset=-1`);
    const publish = async (body, headers = {}) => {
      const answer = await fetch(channel.url, { method: "POST", body: new TextEncoder().encode(body), headers });
      assert.equal(answer.status, 204, await answer.text());
    };
    await publish('{"n":1}');
    await publish("no JSON");
    const bytes = await fetch(channel.url, { method: "POST", body: new Uint8Array([0, 255, 10]) });
    assert.equal(bytes.status, 204, await bytes.text());
    await publish('{"who":"ada"}', { "everwire-event": "typing" });
    await publish("the last");
    await each(t, readers, isLast, (seen) => {
      assert.deepEqual(seen.map(({ type, data }) => [type, data]), [
        ["message", '{"n":1}'],
        ["message", "no JSON"],
        ["message", "AP8K"],
        ["typing", '{"who":"ada"}'],
        ["message", "the last"],
      ]);
    });
  });

  test("makes no message of heartbeats", async (t) => {
    const channel = new Channel(server);
    const first = await channel.publish("the first");
    const readers = await openAll(t, `${channel.url}?offset=-1`);
    await comments(channel.url, 2);
    await channel.publish("the last");
    await each(t, readers, isLast, (seen) => {
      assert.deepEqual(seen.map(({ data }) => data), ["the first", "the last"]);
      assert.equal(seen[0].id, first);
    });
  });

  test("sees heartbeats that were asked for by their name, and still knows where it is", async (t) => {
    const channel = new Channel(server);
    const first = await channel.publish("the first");
    const readers = await openAll(t, `${channel.url}?offset=-1&heartbeat=event`);
    // All of them share the time of their heartbeats.
    for (const [, inbox] of readers) await soon(heartbeat(inbox), "a heartbeat");
    await channel.publish("the last");
    await each(t, readers, isLast, (seen) => {
      const [beats, entries] = [true, false].map((is) => seen.filter(({ type }) => (type === "heartbeat") === is));
      assert.deepEqual(entries.map(({ data }) => data), ["the first", "the last"]);
      assert.ok(beats.length >= 1);
      for (const { data, id } of beats) {
        assert.equal(data, "{}");
        // Parsers alone tell what an event says itself; an `EventSource` tells the last that was said.
        assert.ok(!id || id === first, id);
      }
    });
  });

  test("loses nothing and doubles nothing when it is cut", async (t) => {
    const TOTAL = 120;
    const channel = new Channel(server);
    const proxy = await startProxy(server);
    t.after(() => proxy.stop());
    await channel.publish("0");
    const readers = await openAll(t, `${proxy.url}${channel.path}?offset=-1`);
    // Who was cut before the first entry has no place to come back to but its URL.
    for (let n = 1; n < TOTAL; n += 1) {
      await channel.publish(String(n));
      if (n % 40 === 20) proxy.cut();
    }
    await channel.publish("the last");
    await each(t, readers, isLast, (seen) => {
      const expected = [...Array.from({ length: TOTAL }, (_, n) => String(n)), "the last"];
      assert.deepEqual(seen.map(({ data }) => data), expected);
    });
  });

  test("is told of no message when the server stops, and of a gap when it is back", async (t) => {
    const first = await startServer({ config: CONFIG });
    t.after(() => first.stop());
    const channel = new Channel(first);
    await channel.publish("before");
    const readers = await openAll(t, `${channel.url}?offset=-1`);
    for (const [, inbox] of readers) await inbox.arrival("the entry before the stop");
    assert.equal(await first.stop(), 0);
    const second = await restart(first, { config: CONFIG });
    t.after(() => second.stop());
    await channel.publish("the last");
    await each(t, readers, isLast, (seen) => {
      assert.deepEqual(seen.map(({ type }) => type), ["message", "gap", "message"]);
    });
  });

  test("is told of the end of a channel", async (t) => {
    const channel = new Channel(server);
    await channel.publish("an entry");
    const readers = await openAll(t, `${channel.url}?offset=-1`);
    await channel.close();
    await each(t, readers, ({ type }) => type === "closed", (seen) => {
      assert.deepEqual(seen.map(({ type }) => type), ["message", "closed"]);
    });
  });
});

/** Waits until a stream has been sent so many comments, which is when every other one has been. */
async function comments(url, count) {
  const ending = new AbortController();
  const answer = await fetch(url, { headers: { accept: "text/event-stream" }, signal: ending.signal });
  let text = "";
  for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
    text += piece;
    if (text.split("\n").filter((line) => line === ":").length >= count) break;
  }
  ending.abort();
}

/** Waits for a heartbeat that stays in the inbox. */
async function heartbeat(inbox) {
  while (!inbox.rest.some(({ type }) => type === "heartbeat")) await new Promise((later) => setTimeout(later, 5));
}
