// Whatever JSON the server takes reaches the TypeScript client over each wire, in entries and in what users tell about
// themselves, and disturbs no other channel of the line.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { connect } from "../../clients/typescript/dist/index.js";
import { Inbox } from "../clients/inbox.mjs";
import { WebSocket } from "../clients/websocket.mjs";
import { startServer } from "../server.mjs";

const TEXTS = [
  '"\\ud800"',
  '"cut in an emoji: \\ud83d"',
  '{"\\udc00":1}',
  "1e400",
  "[1E+999999,1e-999999,-0]",
  "123456789012345678901234567890.5",
  '{"a":1,"a":{"a":2},"a":[]}',
  '{"__proto__":{"x":1},"constructor":null,"":""}',
  '"\\u0000\\u001f\\u007f\\u0085\\u2028\\ufeff"',
  '"\u007f\u0085\u2028\u2029\ufeff\uffff\u{10ffff}"',
  '{\r\n\t"a" :\r\n [ ]\n}',
  "null",
  '""',
  '"data: x\\nid: 0"',
  '{"ev":"closed","channel":"any"}',
  `${"[".repeat(128)}7${"]".repeat(128)}`,
];

describe("any JSON arrives", { concurrency: true }, () => {
  for (const wire of ["websocket", "event-stream", "ndjson", "long-poll"]) {
    test(`over ${wire}`, async (t) => {
      const server = await startServer({ config: "[presence]\nlinger_ms = 0\n" });
      t.after(() => server.stop());
      const line = connect(server.url, { wires: [wire], environment: { WebSocket } });
      t.after(() => line.close());
      const opened = [];
      line.on("wire", ({ wire }) => opened.push(wire));
      const [any, healthy, infos] = [new Inbox(), new Inbox(), new Inbox()];
      line.channel("any", { offset: "-1" }).on("entry", ({ data }) => any.put(data));
      line.channel("healthy", { offset: "-1" }).on("entry", ({ data }) => healthy.put(data));
      const lobby = line.channel("lobby", { presence: { join: false } });
      lobby.on("join", ({ info }) => infos.put(info));
      await new Promise((done) => lobby.on("presence", done));

      for (const [n, text] of TEXTS.entries()) {
        // The outer array is a batch, so that each text is one entry.
        const init = { method: "POST", headers: { "Content-Type": "application/json" }, body: `[${text}]` };
        const { status } = await fetch(`${server.url}/channels/any`, init);
        assert.equal(status, 204, text);
        await line.channel("healthy").publish(n);
        assert.deepEqual(await any.next(text), JSON.parse(text));
        assert.equal(await healthy.next("the healthy channel"), n);

        const visitor = new WebSocket(`${server.url.replace("http", "ws")}/connect`, ["everwire.v1"]);
        await new Promise((done) => (visitor.onopen = done));
        visitor.send(`{"id":1,"op":"subscribe","channel":"lobby","presence":{"user":"u${n}","info":${text}}}`);
        const said = JSON.parse(text);
        // `null` says nothing.
        assert.deepEqual(await infos.next(`the info ${text}`), said === null ? undefined : said);
        visitor.close();
      }
      const { entries } = await line.channel("any").history({ limit: 1000 });
      assert.deepEqual(entries.map(({ data }) => data), TEXTS.map((text) => JSON.parse(text)));
      assert.deepEqual(opened, [wire]);
    });
  }
});
