// The TypeScript client as it is shipped, in a real browser.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { startServer } from "../server.mjs";
import { launch } from "./browser.mjs";
import { Channel } from "./channel.mjs";
import { startProxy } from "./proxy.mjs";

const CLIENT = `data:text/javascript;base64,${readFileSync("../../clients/typescript/dist/index.js").toString("base64")}`;
const WIRES = ["websocket", "event-stream", "ndjson", "long-poll"];

let server, elsewhere, browser;
before(async () => {
  [server, elsewhere, browser] = await Promise.all([startServer(), startServer(), launch()]);
});
after(async () => {
  await browser?.close();
  await Promise.all([server?.stop(), elsewhere?.stop()]);
});

/** A page of that origin, with the client. */
async function openPage(origin, t) {
  const page = await browser.newPage();
  t.after(() => page.close());
  await page.goto(`${origin}/healthz`);
  await page.evaluate(async (client) => {
    Object.assign(window, await import(client));
  }, CLIENT);
  return page;
}

for (const [whose, origin] of [
  ["the server's own", (proxy) => proxy.url],
  ["another site", () => elsewhere.url],
]) {
  describe(`a page of ${whose}`, () => {
    for (const wire of WIRES) {
      test(`reads and publishes over ${wire}, through lines that are cut`, async (t) => {
        const { name } = new Channel(server);
        const proxy = await startProxy(server);
        t.after(() => proxy.stop());
        const page = await openPage(origin(proxy), t);
        await page.exposeFunction("cut", () => proxy.cut());
        const [wires, seen] = await page.evaluate(
          async ([url, wire, name]) => {
            const line = connect(url, { wires: [wire], backoffMs: 20, backoffMaxMs: 100 });
            const wires = [];
            line.on("wire", ({ wire }) => wires.push(wire));
            const seen = [];
            for (let n = 1; n <= 40; n += 1) void line.channel(name).publish(n);
            for await (const { data } of line.channel(name, { offset: "-1" })) {
              seen.push(data);
              if (seen.length === 20) {
                await cut();
                for (let n = 41; n <= 80; n += 1) void line.channel(name).publish(n);
              }
              if (seen.length === 80) break;
            }
            line.close();
            return [wires, seen];
          },
          [proxy.url, wire, name],
        );
        assert.deepEqual([...new Set(wires)], [wire]);
        // A poll that was cut may be sent again by the browser itself; then the session goes on.
        assert.ok(wires.length > 1 || wire === "long-poll", "the line was not cut");
        assert.deepEqual(seen, Array.from({ length: 80 }, (_, i) => i + 1));
      });
    }
  });
}

test("a page comes back at once when its network does, over the wire that worked before", async (t) => {
  const proxy = await startProxy(server);
  t.after(() => proxy.stop());
  const page = await openPage(proxy.url, t);
  await page.evaluate(async (url) => {
    window.line = connect(url, { backoffMs: 3_600_000, backoffMaxMs: 3_600_000 });
    window.reached = (wanted) => line.state.state === wanted || new Promise((done) => line.on("state", ({ state }) => state === wanted && done(true)));
    await reached("open");
  }, proxy.url);
  proxy.break();
  await page.evaluate(() => reached("waiting"));
  proxy.mend();
  const wires = await page.evaluate(async (url) => {
    dispatchEvent(new Event("online"));
    await reached("open");
    const first = line.wire;
    line.close();
    // This page cannot have WebSockets, which the next one knows.
    const environment = { WebSocket: class { constructor() { throw new Error("not allowed"); } } };
    const told = (line) => new Promise((done) => line.on("wire", ({ wire, reason }) => (line.close(), done([wire, reason]))));
    return [first, await told(connect(url, { environment })), await told(connect(url))];
  }, proxy.url);
  assert.equal(wires[0], "websocket");
  assert.equal(wires[1][0], "event-stream");
  assert.match(wires[1][1], /not allowed/);
  assert.deepEqual(wires[2], ["event-stream", "the line was started"]);
});
