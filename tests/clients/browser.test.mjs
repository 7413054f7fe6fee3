// The wires as a page in a real browser uses them, with nothing but what the browser itself has.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { startServer } from "../server.mjs";
import { launch } from "./browser.mjs";
import { Channel } from "./channel.mjs";
import { startProxy } from "./proxy.mjs";

const TOTAL = 100;
const NUMBERS = Array.from({ length: TOTAL }, (_, i) => i + 1);

// A reader that was cut off comes back at once.
const CONFIG = "[http]\nretry_ms = 20\n";

let server, browser;
before(async () => {
  server = await startServer({ config: CONFIG });
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** A page of the server's own origin, at the server or behind a proxy to it. */
async function openPage(origin = server.url) {
  const page = await browser.newPage();
  await page.goto(`${origin}/healthz`);
  await page.evaluate(installReaders);
  return page;
}

/** Runs in the page: one reader per wire, each a function (path, offset, count) that resolves with what it saw. */
function installReaders() {
  const follow = (path, offset) => `${path}?offset=${offset}`;

  window.readers = {
    "websocket": (path, offset, count) =>
      new Promise((done, failed) => {
        const seen = [];
        const socket = new WebSocket(location.origin.replace("http", "ws") + follow(path, offset));
        socket.onclose = ({ code }) => failed(new Error(`closed with ${code} after ${seen}`));
        socket.onmessage = ({ data }) => {
          seen.push(JSON.parse(data).n);
          if (seen.length === count) done(seen);
        };
      }),

    // Comes back by itself from the offset of its last entry, as a WebSocket alone cannot.
    "session": (path, offset, count) =>
      new Promise((done) => {
        const seen = [];
        (function connect() {
          const socket = new WebSocket(location.origin.replace("http", "ws") + follow(path, offset), ["everwire.v1"]);
          socket.onclose = () => seen.length < count && setTimeout(connect, 20);
          socket.onmessage = ({ data }) => {
            const message = JSON.parse(data);
            if (message.ev !== "entry") return;
            offset = message.offset;
            seen.push(message.data.n);
            if (seen.length === count) done(seen);
          };
        })();
      }),

    "event-stream": (path, offset, count) =>
      new Promise((done) => {
        const seen = [];
        const source = new EventSource(follow(path, offset));
        source.onmessage = ({ data }) => {
          seen.push(JSON.parse(data).n);
          if (seen.length === count) done(seen);
        };
      }),

    "ndjson": async (path, offset, count) => {
      const seen = [];
      while (seen.length < count) {
        try {
          const answer = await fetch(`${follow(path, offset)}&live=ndjson`);
          const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
          for (let pending = ""; seen.length < count; ) {
            const { value, done } = await reader.read();
            if (done) break;
            const lines = (pending + value).split("\n");
            pending = lines.pop();
            for (const entry of lines.map(JSON.parse)) {
              if (!("data" in entry)) continue;
              seen.push(entry.data.n);
              offset = entry.offset;
            }
          }
        } catch {
          await new Promise((again) => setTimeout(again, 20));
        }
      }
      return seen;
    },

    "long-poll": async (path, offset, count) => {
      const seen = [];
      while (seen.length < count) {
        try {
          const answer = await fetch(`${follow(path, offset)}&live=long-poll`);
          if (answer.status === 200) seen.push(...(await answer.json()).map(({ n }) => n));
          offset = answer.headers.get("stream-next-offset");
        } catch {
          await new Promise((again) => setTimeout(again, 20));
        }
      }
      return seen;
    },
  };
}

describe("a page", () => {
  test("publishes, and receives on all wires at once", async () => {
    const channel = new Channel(server);
    const start = await channel.publish({ n: 0 });
    const page = await openPage();
    const seen = await page.evaluate(
      async ([path, start, total]) => {
        const reading = Object.entries(window.readers).map(async ([wire, read]) => [wire, await read(path, start, total)]);
        for (let n = 1; n <= total; n += 1) {
          const headers = { "content-type": "application/json" };
          await fetch(path, { method: "POST", headers, body: JSON.stringify({ n }) });
        }
        return Object.fromEntries(await Promise.all(reading));
      },
      [channel.path, start, TOTAL],
    );
    for (const [wire, numbers] of Object.entries(seen)) assert.deepEqual(numbers, NUMBERS, wire);
    assert.equal(Object.keys(seen).length, 5);
    await page.close();
  });

  for (const wire of ["session", "event-stream", "ndjson", "long-poll"]) {
    test(`loses nothing and doubles nothing when its ${wire} connection is cut`, async (t) => {
      const channel = new Channel(server);
      const start = await channel.publish({ n: 0 });
      const proxy = await startProxy(server);
      t.after(() => proxy.stop());
      const page = await openPage(proxy.url);
      const before = proxy.accepted();
      const reading = page.evaluate(
        ([wire, path, start, total]) => window.readers[wire](path, start, total),
        [wire, channel.path, start, TOTAL],
      );
      for (let n = 1; n <= TOTAL; n += 1) {
        await channel.publish({ n });
        if (n === 30 || n === 60) proxy.cut();
      }
      assert.deepEqual(await reading, NUMBERS);
      assert.ok(proxy.accepted() > before, "the page connected again");
      await page.close();
      });
  }

  test("reads an unchanged channel from its own cache, after the server's 304", async () => {
    const channel = new Channel(server);
    // What no compression makes small.
    await channel.publish({ text: randomBytes(7_500).toString("base64") });
    const page = await openPage();
    const transferred = await page.evaluate(async (path) => {
      const sizes = [];
      for (let i = 0; i < 2; i += 1) {
        const answer = await fetch(path, { cache: "no-cache" });
        const [entry] = await answer.json();
        while (performance.getEntriesByName(location.origin + path).length <= i) await new Promise(requestAnimationFrame);
        const timing = performance.getEntriesByName(location.origin + path)[i];
        sizes.push([answer.status, entry.text.length, timing.transferSize]);
      }
      return sizes;
    }, channel.path);
    assert.deepEqual(transferred.map(([status, length]) => [status, length]), [[200, 10_000], [200, 10_000]]);
    const [[, , whole], [, , again]] = transferred;
    assert.ok(whole > 7_000 && again < 1_000, `${whole} bytes, then ${again}`);
    await page.close();
  });
});
