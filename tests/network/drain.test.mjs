// A server that stops tells its lines when to come back, and its successor finds them there: over each wire.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { connect } from "../../clients/typescript/dist/index.js";
import { soon, Inbox } from "../clients/inbox.mjs";
import { WebSocket } from "../clients/websocket.mjs";
import { startServer } from "../server.mjs";

const OPTIONS = { config: "[stop]\nreconnect_ms_max = 500\n" };

describe("a server that stops and starts again", { concurrency: true }, () => {
  for (const wire of ["websocket", "event-stream", "ndjson", "long-poll"]) {
    test(`is waited for as it asked over ${wire}, and resumed with one gap`, async (t) => {
      let server = await startServer(OPTIONS);
      t.after(() => server.stop("SIGKILL"));
      const line = connect(server.url, { wires: [wire], environment: { WebSocket } });
      t.after(() => line.close());
      const news = new Inbox();
      const channel = line.channel("a");
      channel.on("entry", ({ data }) => news.put(data));
      channel.on("gap", () => news.put("gap"));
      line.on("state", ({ state, reason }) => state === "waiting" && news.put({ waits: reason }));

      await channel.publish("before");
      assert.equal(await news.next("the first entry"), "before");
      await soon(lineOpen(server), "a line, which a long poll is only while it waits");
      assert.equal(await server.stop(), 0);
      assert.match((await news.next("the line to wait")).waits, /going away/);
      server = await startServer({ ...OPTIONS, listen: server.host });
      await soon(channel.publish("after"), "the successor to take an entry");
      const seen = await news.until((item) => item === "after", "the entry after the restart");
      // Whoever comes before the successor listens has to wait once more.
      assert.deepEqual(seen.filter((item) => !item.waits), ["gap", "after"]);
    });
  }
});

/** Resolves once the server has a line to whom it can say something. */
async function lineOpen(server) {
  for (;;) {
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    if (/^everwire_lines 1$/m.test(metrics)) return;
  }
}
