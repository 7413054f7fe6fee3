// ndjson as Node.js reads lines, which takes U+2028 and U+2029 for their ends.

import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { after, before, test } from "node:test";
import { startServer } from "../server.mjs";
import { Channel } from "./channel.mjs";
import { Inbox } from "./inbox.mjs";

let server;
before(async () => (server = await startServer({ config: "[http]\nheartbeat_ms = 1000\n" })));
after(() => server?.stop());

test("readline gets an object for each entry, and empty ones for heartbeats", async (t) => {
  const channel = new Channel(server);
  const texts = ["a\u2028b\u2029c\u0085d", "\v\f\r\n\r", "", "héllo ✓ 🎉"];
  for (const text of texts) await channel.publish(text);
  const answer = await fetch(`${channel.url}?live=ndjson&offset=-1`);
  const body = Readable.fromWeb(answer.body);
  t.after(() => body.destroy());
  const lines = createInterface({ input: body, crlfDelay: Infinity });
  const read = new Inbox();
  lines.on("line", (line) => read.put(JSON.parse(line)));
  assert.deepEqual((await read.take(texts.length)).map(({ data }) => data), texts);
  assert.deepEqual(await read.take(2, "two heartbeats"), [{}, {}]);
  await channel.publish({ ends: "\u2028\u2029" }, { "content-type": "text/plain" });
  const [last] = (await read.until((line) => "offset" in line)).slice(-1);
  assert.deepEqual(JSON.parse(last.data), { ends: "\u2028\u2029" });
});
