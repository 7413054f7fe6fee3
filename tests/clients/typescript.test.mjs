// The TypeScript client as it is shipped, against the real server, over each wire alone.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import WebSocket from "ws";
import { connect } from "../../clients/typescript/dist/index.js";
import { startServer } from "../server.mjs";
import { Channel, restart } from "./channel.mjs";
import { Inbox, soon } from "./inbox.mjs";
import { startProxy } from "./proxy.mjs";

const MESSAGE_BYTES_MAX = 65_536;
const CONFIG = `
[limits]
message_bytes_max = ${MESSAGE_BYTES_MAX}
content_bytes_max = ${MESSAGE_BYTES_MAX}
[presence]
linger_ms = 500
`;

let server;
before(async () => (server = await startServer({ config: CONFIG })));
after(() => server?.stop());

for (const wire of ["websocket", "event-stream", "ndjson", "long-poll"]) {
  describe(`over ${wire} alone`, () => {
    const lines = [];
    after(() => lines.forEach((line) => line.close()));

    /** An open line over this wire alone; it comes back soon, for the tests' sake. */
    function open(to = server, options = {}) {
      const line = connect(to.url, { wires: [wire], backoffMs: 20, backoffMaxMs: 100, environment: { WebSocket }, ...options });
      lines.push(line);
      line.states = new Inbox();
      line.on("state", (state) => line.states.put(state));
      return line;
    }

    /** What comes on a channel: entries by their data, and gaps. */
    async function read(line, name, options = {}) {
      const inbox = new Inbox();
      const channel = line.channel(name, options);
      channel.on("gap", () => inbox.put("a gap"));
      channel.on("end", (error) => inbox.put(error ?? "the end"));
      channel.on("entry", ({ data }) => inbox.put(data));
      // Commands keep their order, so after this reply the channel is read.
      await soon(channel.history({ limit: 1 }), "a reply");
      return inbox;
    }

    test("what is published comes back, as JSON, text and bytes", async () => {
      const line = open();
      for (const data of [{ text: "héllo ✓" }, "text", 7, null, Uint8Array.of(0, 255, 128)]) {
        const { name } = new Channel(server);
        const inbox = await read(line, name);
        const offset = await soon(line.channel(name).publish(data, { event: "said" }), "the reply");
        assert.deepEqual(await inbox.next("the entry"), data);
        assert.equal(line.channel(name).offset, offset);
      }
      assert.equal(line.wire, wire);
    });

    test("a loop reads from the offset it is given, and ends with its channel", async () => {
      const channel = new Channel(server);
      const first = await channel.publish({ n: 1 });
      await channel.publish([{ n: 2 }, { n: 3 }]);
      const line = open();
      const seen = [];
      for await (const { data, event } of line.channel(channel.name, { offset: first })) {
        seen.push([data.n, event]);
        if (data.n === 3) await channel.close();
      }
      assert.deepEqual(seen, [[2, null], [3, null]]);
    });

    test("several channels come on one line, and each can be left and joined again", async () => {
      const [a, b] = [new Channel(server), new Channel(server)];
      const line = open();
      const fromB = await read(line, b.name);
      const loop = line.channel(a.name, { offset: "-1" });
      for (const n of [1, 2]) {
        await a.publish({ n });
        for await (const { data } of loop) {
          assert.deepEqual(data, { n });
          break;
        }
      }
      await b.publish({ n: 3 });
      assert.deepEqual(await fromB.next(), { n: 3 });
    });

    test("echo: false leaves out what the line itself published", async () => {
      const { name } = new Channel(server);
      const [mine, theirs] = [open(), open()];
      const inbox = await read(mine, name, { echo: false });
      const heard = await read(theirs, name, { echo: false });
      await soon(mine.channel(name).publish("mine"), "the reply");
      await soon(theirs.channel(name).publish("theirs"), "the reply");
      assert.equal(await inbox.next(), "theirs");
      assert.equal(await heard.next(), "mine");
    });

    test("who is there is known to each line, and who comes and goes", async (t) => {
      const { name } = new Channel(server);
      const proxy = await startProxy(server);
      t.after(() => proxy.stop());
      const attend = (line, presence) => {
        const inbox = new Inbox();
        const channel = line.channel(name, { presence });
        channel.on("join", ({ user, info }) => inbox.put(["join", user, info]));
        channel.on("leave", ({ user, info }) => inbox.put(["leave", user, info]));
        channel.on("presence", (members) => inbox.put([...members.keys()]));
        return inbox;
      };
      const info = { mood: "fine" };
      const ada = open(proxy);
      const heard = attend(ada, { user: "ada", info });
      assert.deepEqual(await heard.next(), ["~ada"]);
      const watcher = attend(open(), { join: false });
      assert.deepEqual(await watcher.next(), ["~ada"]);
      const bob = open();
      assert.deepEqual(await attend(bob, { user: "bob" }).next(), ["~ada", "~bob"]);
      for (const inbox of [heard, watcher]) assert.deepEqual(await inbox.take(2), [["join", "~bob", undefined], ["~ada", "~bob"]]);
      assert.deepEqual(await soon(bob.channel(name).who(), "who is there"), {
        total: 2,
        members: [{ user: "~ada", info, count: 1 }, { user: "~bob", count: 1 }],
      });
      // A line that is cut comes back before it has left, and hears of what it missed.
      proxy.cut();
      const eve = open();
      attend(eve, { user: "eve", info });
      for (const inbox of [heard, watcher]) assert.deepEqual(await inbox.take(2), [["join", "~eve", info], ["~ada", "~bob", "~eve"]]);
      eve.close();
      for (const inbox of [heard, watcher]) assert.deepEqual(await inbox.take(2), [["leave", "~eve", info], ["~ada", "~bob"]]);
      assert.deepEqual(ada.channel(name).members.get("~ada"), { user: "~ada", info });
    });

    test("history tells what was, page by page", async () => {
      const channel = new Channel(server);
      await channel.publish([1, 2, 3]);
      const history = open().channel(channel.name);
      const first = await soon(history.history({ limit: 2 }), "the first page");
      assert.deepEqual([first.entries.map(({ data }) => data), first.upToDate], [[1, 2], false]);
      const second = await soon(history.history({ offset: first.offset }), "the second page");
      assert.deepEqual([second.entries.map(({ data }) => data), second.upToDate], [[3], true]);
    });

    test("a line that is cut misses and doubles nothing", async (t) => {
      const channel = new Channel(server);
      await channel.publish(0);
      const proxy = await startProxy(server);
      t.after(() => proxy.stop());
      const line = open(proxy);
      const inbox = await read(line, channel.name);
      const wanted = [];
      for (let n = 1; n <= 60; n += 1) {
        wanted.push(n);
        if (n % 3 === 0) void line.channel(channel.name).publish(n);
        else await channel.publish(n);
        if (n % 15 === 0) proxy.cut();
      }
      const seen = await inbox.take(60);
      assert.deepEqual([...seen].sort((a, b) => a - b), wanted);
      assert.deepEqual(seen, (await soon(line.channel(channel.name).history({ last: 60 }), "the log")).entries.map(({ data }) => data));
    });

    test("a server that lost its logs is come back to, with one gap", async (t) => {
      const first = await startServer();
      const line = open(first);
      const { name } = new Channel(first);
      const inbox = await read(line, name);
      await soon(line.channel(name).publish(1), "the reply");
      assert.equal(await inbox.next(), 1);
      await first.stop("SIGKILL");
      const second = await restart(first);
      t.after(() => second.stop("SIGKILL"));
      await soon(line.channel(name).publish(2), "the reply");
      assert.deepEqual(await inbox.take(2), ["a gap", 2]);
    });

    test("a stopping server says when to come back, and is obeyed", async (t) => {
      const first = await startServer({ config: "[stop]\nreconnect_ms_max = 100" });
      const line = open(first);
      await read(line, "a");
      await first.stop();
      const second = await restart(first);
      t.after(() => second.stop("SIGKILL"));
      const { reason } = (await line.states.until(({ state }) => state === "waiting")).at(-1);
      // Between two polls nobody can be told.
      if (wire !== "long-poll") assert.equal(reason, "the server is going away");
      await line.states.until(({ state }) => state === "open");
    });

    test("what is too large or not permitted is rejected, and the line goes on", async () => {
      const line = open();
      const { name } = new Channel(server);
      const inbox = await read(line, name);
      const large = line.channel(name).publish("x".repeat(MESSAGE_BYTES_MAX));
      await assert.rejects(soon(large, "the rejection"), { code: "too-large" });
      await assert.rejects(soon(line.channel("a//b").publish(1), "the rejection"), ({ code, problem }) => code === "refused" && problem.type === "bad-name");
      await soon(line.channel(name).publish("small"), "the reply");
      assert.equal(await inbox.next(), "small");
    });
  });
}

test("a proxy that refuses upgrades does not keep the client from a session", async () => {
  class Refused extends WebSocket {
    constructor(url, protocols) {
      super(url.replace("/connect", "/nothing-here"), protocols);
    }
  }
  const line = connect(server.url, { environment: { WebSocket: Refused } });
  const wire = await soon(new Promise((told) => line.on("wire", told)), "a wire");
  assert.equal(wire.wire, "event-stream");
  line.close();
});
