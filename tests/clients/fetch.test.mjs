// HTTP streaming and long polling with Node's own fetch, which keeps connections alive and reuses them.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import WebSocket from "ws";
import { startServer } from "../server.mjs";
import { Channel } from "./channel.mjs";
import { soon } from "./inbox.mjs";

let server;
before(async () => (server = await startServer({ config: "[limits]\nlong_poll_ms_max = 2000\n" })));
after(() => server?.stop());

/** The objects of an ndjson response, heartbeats left out. */
async function* objects(response) {
  assert.equal(response.status, 200);
  let pending = "";
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    const lines = (pending + chunk).split("\n");
    pending = lines.pop();
    for (const line of lines) {
      const object = JSON.parse(line);
      if (Object.keys(object).length > 0) yield object;
    }
  }
  assert.equal(pending, "", "the last line is complete");
}

/** One long poll: `{ status, entries, offset, cursor, closed }`. */
async function poll(url, { offset, cursor }, init) {
  const query = new URLSearchParams({ live: "long-poll", offset, ...(cursor && { cursor }) });
  const answer = await fetch(`${url}?${query}`, init);
  return {
    status: answer.status,
    entries: answer.status === 200 ? await answer.json() : [],
    offset: answer.headers.get("stream-next-offset"),
    cursor: answer.headers.get("stream-cursor"),
    closed: answer.headers.get("stream-closed") === "true",
  };
}

describe("ndjson", () => {
  test("streams each entry as it is published, and ends with the channel", async () => {
    const channel = new Channel(server);
    await channel.publish({ n: 0 });
    const stream = objects(await fetch(`${channel.url}?offset=-1`, { headers: { accept: "application/x-ndjson" } }));
    for (let n = 0; n <= 20; n += 1) {
      if (n > 0) await channel.publish({ n });
      assert.deepEqual((await soon(stream.next(), "the next line")).value.data, { n });
    }
    await channel.close();
    assert.deepEqual((await soon(stream.next(), "the next line")).value, { closed: true });
    assert.equal((await soon(stream.next(), "the next line")).done, true);
  });

  test("characters of several bytes are never cut", async () => {
    const channel = new Channel(server);
    const data = { text: "héllo ✓ 🦀 ".repeat(5_000) };
    await channel.publish(data);
    const stream = objects(await fetch(`${channel.url}?offset=-1`, { headers: { accept: "application/x-ndjson" } }));
    assert.deepEqual((await soon(stream.next(), "the next line")).value.data, data);
    await stream.return();
  });

  test("a reader that resumes at the offset of its last line misses nothing", async () => {
    const channel = new Channel(server);
    let offset = await channel.publish({ n: 0 });
    const publishing = (async () => {
      for (let n = 1; n <= 300; n += 1) await channel.publish({ n });
    })();
    const seen = [];
    while (seen.length < 300) {
      const abort = new AbortController();
      const init = { headers: { accept: "application/x-ndjson" }, signal: abort.signal };
      const stream = objects(await fetch(`${channel.url}?offset=${offset}`, init));
      for (let taken = 0; taken < 23 && seen.length < 300; taken += 1) {
        const { value } = await soon(stream.next(), "the next line");
        offset = value.offset;
        seen.push(value.data.n);
      }
      abort.abort();
    }
    await publishing;
    assert.deepEqual(seen, Array.from({ length: 300 }, (_, i) => i + 1));
  });
});

describe("long polling", () => {
  test("a loop of polls sees each entry once, in order, and the end", async () => {
    const channel = new Channel(server);
    let at = { offset: await channel.publish({ n: 0 }) };
    const publishing = (async () => {
      for (let n = 1; n <= 300; n += 1) await channel.publish({ n });
      await channel.close();
    })();
    const seen = [];
    while (!at.closed) {
      at = await poll(channel.url, at);
      assert.ok(at.status === 200 || at.status === 204, `${at.status}`);
      seen.push(...at.entries.map((entry) => entry.n));
    }
    await publishing;
    assert.deepEqual(seen, Array.from({ length: 300 }, (_, i) => i + 1));
  });

  test("one entry answers a hundred parked polls", async () => {
    const channel = new Channel(server);
    const offset = await channel.publish({ n: 0 });
    const polls = Array.from({ length: 100 }, () => poll(channel.url, { offset }));
    const tail = await channel.publish({ n: 1 });
    for (const { status, entries, offset } of await Promise.all(polls)) {
      assert.deepEqual([status, entries, offset], [200, [{ n: 1 }], tail]);
    }
  });

  test("a poll that was given up leaves the connection's place to others", async () => {
    const channel = new Channel(server);
    const offset = await channel.publish({ n: 0 });
    const abort = new AbortController();
    const given = Array.from({ length: 20 }, () => poll(channel.url, { offset }, { signal: abort.signal }));
    const outcomes = Promise.allSettled(given);
    await channel.tail(); // the server answers others meanwhile
    abort.abort();
    for (const outcome of await outcomes) assert.equal(outcome.status, "rejected");
    const kept = poll(channel.url, { offset });
    await channel.publish({ n: 1 });
    assert.deepEqual((await kept).entries, [{ n: 1 }]);
  });

  test("the cursor moves, so that a cache never answers a poll with the answer to the one before", async () => {
    const channel = new Channel(server);
    await channel.publish({ n: 0 });
    const first = await poll(channel.url, { offset: "-1" });
    const second = await poll(channel.url, first);
    assert.equal(second.status, 204);
    assert.notEqual(second.cursor, first.cursor);
  });
});

describe("one reader, another wire each time", () => {
  test("sees each entry once, in order", async () => {
    const channel = new Channel(server);
    let offset = await channel.publish({ n: 0 });
    const publishing = (async () => {
      for (let n = 1; n <= 400; n += 1) await channel.publish({ n });
    })();
    const seen = [];

    /** Takes up to seven entries of a live wire, then leaves it; each gives its data and the offset after it. */
    async function take(entries) {
      let taken = 0;
      for await (const { data, offset: after } of entries) {
        seen.push(data.n);
        offset = after;
        if (++taken === 7 || seen.length === 400) break;
      }
    }
    const wires = [
      async function catchUp() {
        const answer = await fetch(`${channel.url}?offset=${offset}`);
        offset = answer.headers.get("stream-next-offset");
        seen.push(...(await answer.json()).map((entry) => entry.n));
      },
      async function longPoll() {
        const answer = await poll(channel.url, { offset });
        offset = answer.offset;
        seen.push(...answer.entries.map((entry) => entry.n));
      },
      async function ndjson() {
        await take(objects(await fetch(`${channel.url}?offset=${offset}&live=ndjson`)));
      },
      async function eventStream() {
        const headers = { accept: "text/event-stream", "last-event-id": offset };
        await take(events(await fetch(channel.url, { headers })));
      },
      async function session() {
        await take(sessionEntries(`${channel.ws}?offset=${offset}`));
      },
    ];
    for (let turn = 0; seen.length < 400; turn += 1) await wires[turn % wires.length]();
    await publishing;
    assert.deepEqual(seen, Array.from({ length: 400 }, (_, i) => i + 1));
  });
});

/** The entries of an event stream. */
async function* events(response) {
  assert.equal(response.status, 200);
  let pending = "";
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    const blocks = (pending + chunk).split("\n\n");
    pending = blocks.pop();
    for (const block of blocks) {
      const fields = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/, 2)));
      if ("data" in fields) yield { offset: fields.id, data: JSON.parse(fields.data) };
    }
  }
}

/** The entries of a session's WebSocket. */
async function* sessionEntries(url) {
  const socket = new WebSocket(url, ["everwire.v1"]);
  try {
    const messages = [];
    let wake;
    socket.onmessage = ({ data }) => (messages.push(JSON.parse(data)), wake?.());
    socket.onerror = () => wake?.();
    for (;;) {
      while (messages.length === 0) await new Promise((arrived) => (wake = arrived));
      const message = messages.shift();
      if (message.ev === "entry") yield message;
    }
  } finally {
    socket.close();
  }
}
