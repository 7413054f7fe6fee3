// `everwire publish` and `everwire subscribe`, as a person or a script at a shell uses them.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startServer } from "../server.mjs";
import { Channel, restart } from "./channel.mjs";
import { everwire, running } from "./command.mjs";
import { startProxy } from "./proxy.mjs";

const WIRES = ["websocket", "event-stream", "ndjson", "long-poll", "polling"];
const OFFSET = /^[0-9a-z_-]+$/;

// Readers come back at once, so that no test waits for them.
const CONFIG = "[http]\nretry_ms = 20\n[stop]\nreconnect_ms_max = 20\n";

let server;
before(async () => (server = await startServer({ config: CONFIG })));
after(() => server?.stop());

const publish = (channel, args, options) => everwire(["publish", channel.url, ...args], options);

/** Reads a channel to the command's end, and gives its lines. */
async function read(channel, args) {
  const { code, stdout, stderr } = await everwire(["subscribe", channel.url, ...args]);
  assert.equal(code, 0, stderr);
  assert.ok(stdout === "" || stdout.endsWith("\n"), "whole lines");
  return stdout.split("\n").slice(0, -1);
}

/** A subscription that is connected. */
async function subscribe(t, url, args) {
  const command = running(t, ["subscribe", url, ...args]);
  await command.notices.until((notice) => /^everwire: connected over /.test(notice), "the connection");
  return command;
}

describe("everwire publish", () => {
  test("appends what is said, and prints the offset of it", async () => {
    const channel = new Channel(server);
    const { code, stdout, stderr } = await publish(channel, ["hello"]);
    assert.deepEqual([code, stderr], [0, ""]);
    assert.match(stdout.trimEnd(), OFFSET);
    assert.equal(stdout.trimEnd(), await channel.tail());
    assert.equal(await (await fetch(channel.url)).text(), "hello");
  });

  const cases = [
    // [what, arguments, input, the channel's type, its content]
    ["JSON as JSON", ['{"n":1.0}'], "", /^application\/json/, '[{"n":1.0}]'],
    ["an array as so many entries", ["[1,[2]]"], "", /^application\/json/, "[1,[2]]"],
    ["anything else as text", ["hé \"llo\""], "", /^text\/plain/, 'hé "llo"'],
    ["JSON as text, if asked to", ["17", "--type", "text/plain"], "", /^text\/plain/, "17"],
    ["all of standard input as one entry", [], "one\ntwo\n", /^text\/plain/, "one\ntwo\n"],
    ["bytes as they are", ["--type", "application/octet-stream"], Buffer.of(0, 255, 10, 13), /octet-stream/, Buffer.of(0, 255, 10, 13)],
    ["each line, without empty ones and CR", ["--lines", "--type", "text/x-log"], "one\r\n\ntwo\nthree", /^text\/x-log/, "onetwothree"],
  ];
  for (const [what, args, input, type, content] of cases) {
    test(`sends ${what}`, async () => {
      const channel = new Channel(server);
      const { code, stderr } = await publish(channel, args, { input });
      assert.equal(code, 0, stderr);
      const answer = await fetch(channel.url);
      assert.match(answer.headers.get("content-type"), type);
      assert.deepEqual(Buffer.from(await answer.arrayBuffer()), Buffer.from(content));
    });
  }

  test("--lines publishes a line when it comes, and does not wait for the last", async (t) => {
    const channel = new Channel(server);
    const command = running(t, ["publish", channel.url, "--lines"]);
    const offsets = [];
    for (const line of ["one", "two", "three"]) {
      command.stdin.write(`${line}\n`);
      offsets.push(await command.lines.next(`the offset of ${line}`));
      assert.equal(offsets.at(-1), await channel.tail());
    }
    assert.deepEqual(offsets, offsets.toSorted());
    command.stdin.end();
    assert.equal(await command.exit(), 0);
  });

  test("a thousand lines are a thousand entries", async () => {
    const channel = new Channel(server);
    const lines = Array.from({ length: 1_000 }, (_, n) => `{"n":${n}}`);
    const { code, stdout } = await publish(channel, ["--lines"], { input: lines.join("\n") });
    assert.equal(code, 0);
    assert.equal(new Set(stdout.trimEnd().split("\n")).size, 1_000);
    assert.equal(await (await fetch(channel.url)).text(), `[${lines}]`);
  });

  test("--key publishes once, however often it is run", async () => {
    const channel = new Channel(server);
    const input = "one\ntwo\n";
    const first = await publish(channel, ["--lines", "--key", "k"], { input });
    const again = await publish(channel, ["--lines", "--key", "k"], { input: `${input}three\n` });
    assert.deepEqual([first.code, again.code], [0, 0]);
    assert.ok(again.stdout.startsWith(first.stdout), "the same offsets");
    assert.equal(await (await fetch(channel.url)).text(), "onetwothree");
  });

  test("--event names the event", async () => {
    const channel = new Channel(server);
    await publish(channel, ["7", "--event", "goal"]);
    const [line] = await read(channel, ["--from", "beginning", "--count", "1", "--json"]);
    assert.equal(JSON.parse(line).event, "goal");
  });

  test("a name is taken on the server that --server or EVERWIRE_SERVER names", async () => {
    const channel = new Channel(server, "a b/ü?");
    const byFlag = await everwire(["publish", channel.name, "flag", "--server", server.url]);
    const byVariable = await everwire(["publish", channel.name, " variable"], { env: { EVERWIRE_SERVER: server.url } });
    assert.deepEqual([byFlag.code, byVariable.code], [0, 0], byFlag.stderr + byVariable.stderr);
    const path = channel.name.split("/").map(encodeURIComponent).join("/");
    assert.equal(await (await fetch(`${server.url}/channels/${path}`)).text(), "flag variable");
  });

  test("waits for a server that is not there yet, and sends once", async (t) => {
    const first = await startServer();
    await first.stop();
    const channel = new Channel(first);
    const command = running(t, ["publish", channel.url, "early", "--retry-for", "30"]);
    const second = await restart(first);
    t.after(() => second.stop());
    assert.match(await command.lines.next("the offset"), OFFSET);
    assert.equal(await command.exit(), 0);
    assert.equal(await (await fetch(channel.url)).text(), "early");
  });
});

describe("a publish that is refused ends with 1 and says why", () => {
  const cases = [
    ["a closed channel", async (channel) => (await channel.publish({ n: 1 }), channel.close()), ['{"n":2}'], /closed/],
    ["another type", (channel) => channel.publish({ n: 1 }), ["x", "--type", "text/plain"], /application\/json.*text\/plain|text\/plain.*application\/json/],
    ["what is no JSON for a JSON channel", (channel) => channel.publish({ n: 1 }), ["{nope"], /line 1|column/],
    ["a reserved event name", () => {}, ["x", "--event", "gap"], /reserved/],
    ["an empty message", (channel) => channel.publish({ n: 1 }), [""], /empty|no content|no entr/],
  ];
  for (const [what, prepare, args, said] of cases) {
    test(what, async () => {
      const channel = new Channel(server);
      await prepare(channel);
      const { code, stdout, stderr } = await publish(channel, args);
      assert.deepEqual([code, stdout], [1, ""]);
      assert.match(stderr, said);
      assert.ok(stderr.startsWith("everwire: cannot publish to"), stderr);
    });
  }

  test("no server, and no patience", async () => {
    const gone = await startServer();
    await gone.stop();
    const { code, stderr } = await publish(new Channel(gone), ["x", "--retry-for", "0"]);
    assert.equal(code, 1);
    assert.match(stderr, /refused|cannot be reached|connect/i);
  });

  test("no permission: at once, without trying again", async (t) => {
    const guarded = await startServer({ dev: false });
    t.after(() => guarded.stop());
    const channel = new Channel(guarded);
    const began = Date.now();
    const published = await publish(channel, ["x"]);
    assert.equal(published.code, 1);
    assert.match(published.stderr, /anonymous/);
    for (const wire of WIRES) {
      const { code, stderr } = await everwire(["subscribe", channel.url, "--wire", wire]);
      assert.equal(code, 1, wire);
      assert.match(stderr, /401|credential|anonymous/, wire);
    }
    assert.ok(Date.now() - began < 5_000);
  });
});

for (const wire of WIRES) {
  // Side by side, since polling asks every two seconds only.
  describe(`everwire subscribe --wire ${wire}`, { concurrency: true }, () => {
    const over = ["--wire", wire];
    const dataOf = ({ data }) => data;

    test("prints each entry as it is, from the beginning, and ends after --count", async () => {
      const channel = new Channel(server);
      for (const n of [1, 2, 3, 4]) await channel.publish({ n, text: "ü \\ \"" });
      const lines = await read(channel, [...over, "--from", "beginning", "--count", "3"]);
      assert.deepEqual(lines, [1, 2, 3].map((n) => JSON.stringify({ n, text: "ü \\ \"" })));
    });

    test("--from takes an offset that was printed before, --last so many entries", async () => {
      const channel = new Channel(server);
      const { stdout } = await publish(channel, ['{"n":1}']);
      for (const n of [2, 3]) await channel.publish({ n });
      assert.deepEqual(await read(channel, [...over, "--from", stdout.trimEnd(), "--count", "2"]), ['{"n":2}', '{"n":3}']);
      assert.deepEqual(await read(channel, [...over, "--last", "2", "--count", "2"]), ['{"n":2}', '{"n":3}']);
    });

    test("--json prints an object a line, with the event and what else the wire tells", async () => {
      const channel = new Channel(server);
      const offset = await channel.publish({ n: 1 }, { "everwire-event": "named" });
      const [line] = await read(channel, [...over, "--from", "beginning", "--count", "1", "--json"]);
      const entry = JSON.parse(line);
      assert.deepEqual(dataOf(entry), { n: 1 });
      if ("offset" in entry) assert.equal(entry.offset, offset);
      if ("time" in entry) assert.ok(Math.abs(entry.time - Date.now()) < 60_000);
      // Answers to polls hold payloads alone.
      if (!["long-poll", "polling"].includes(wire)) assert.equal(entry.event, "named");
    });

    test("starts at the tail, prints what comes when it comes, and ends with the channel", async (t) => {
      const channel = new Channel(server);
      await channel.publish({ n: 0 });
      const command = await subscribe(t, channel.url, over);
      for (const n of [1, 2]) {
        await channel.publish({ n });
        assert.equal(await command.lines.next(`entry ${n}`), JSON.stringify({ n }));
      }
      await channel.publish({ n: 3 });
      await channel.close();
      assert.equal(await command.exit(), 0);
      assert.deepEqual(command.lines.rest, ['{"n":3}']);
    });

    test("waits for a channel that nobody has written to", async (t) => {
      const channel = new Channel(server);
      const command = await subscribe(t, channel.url, [...over, "--from", "beginning", "--count", "1"]);
      await channel.publish({ n: 1 });
      assert.equal(await command.lines.next("the entry"), '{"n":1}');
      assert.equal(await command.exit(), 0);
    });

    test("knows JSON, text and bytes apart on a channel that got its type after it came", async (t) => {
      // Answers to polls hold payloads alone, and text has no end in them; these have one entry each.
      for (const [body, data] of [[{ n: 1 }, { data: { n: 1 } }], ["one", { data: "one" }], [Uint8Array.of(0, 255), { data64: "AP8=" }]]) {
        const channel = new Channel(server);
        const command = await subscribe(t, channel.url, [...over, "--from", "beginning", "--count", "1", "--json"]);
        await channel.publish(body);
        const { offset, time, ...told } = JSON.parse(await command.lines.next("the entry"));
        assert.deepEqual(told, data);
        assert.equal(await command.exit(), 0);
      }
    });

    test("loses nothing and doubles nothing while its connection is cut again and again", async (t) => {
      const TOTAL = 300;
      const proxy = await startProxy(server);
      t.after(() => proxy.stop());
      const channel = new Channel(server);
      await channel.publish({ n: 0 });
      const command = await subscribe(t, proxy.url + channel.path, [...over, "--count", String(TOTAL)]);
      const lines = [];
      for (let n = 1; n <= TOTAL; n += 1) {
        await channel.publish({ n });
        if (n % 100 === 50) {
          // It is in the middle of the flow, and not still busy with the last cut.
          lines.push(await command.lines.next(`an entry before cut ${n}`));
          proxy.cut();
        }
      }
      assert.equal(await command.exit(), 0);
      lines.push(...command.lines.rest);
      assert.deepEqual(lines, Array.from({ length: TOTAL }, (_, n) => JSON.stringify({ n: n + 1 })));
    });

    test("goes on after a restart of the server, and tells that its memory was lost", async (t) => {
      const first = await startServer({ config: CONFIG });
      t.after(() => first.stop());
      const channel = new Channel(first);
      await channel.publish({ life: 0 });
      const command = await subscribe(t, channel.url, [...over, "--json"]);
      await channel.publish({ life: 1 });
      assert.deepEqual(dataOf(JSON.parse(await command.lines.next("the first life"))), { life: 1 });
      assert.equal(await first.stop(), 0);

      const second = await restart(first, { config: CONFIG });
      t.after(() => second.stop());
      const newest = await channel.publish({ life: 2 });
      const gap = JSON.parse(await command.lines.next("the gap"));
      assert.deepEqual(Object.keys(gap), ["gap"]);
      assert.ok(gap.gap.oldest <= newest && gap.gap.newest <= newest);
      assert.deepEqual(dataOf(JSON.parse(await command.lines.next("the second life"))), { life: 2 });
      await channel.close();
      assert.equal(await command.exit(), 0);
      assert.deepEqual(command.lines.rest, []);
    });
  });
}

describe("everwire subscribe", () => {
  test("prints a line for each entry, with --raw what was published, and in --json bytes as data64", async () => {
    for (const wire of ["websocket", "event-stream", "ndjson"]) {
      const [text, bytes] = [new Channel(server), new Channel(server)];
      await text.publish("two\nlines");
      await bytes.publish(Uint8Array.of(0, 255, 128));
      const args = ["--wire", wire, "--from", "beginning", "--count", "1"];
      assert.deepEqual(await read(text, args), ["two\\nlines"], wire);
      assert.deepEqual(await read(text, [...args, "--raw"]), ["two", "lines"], wire);
      assert.equal(JSON.parse((await read(text, [...args, "--json"]))[0]).data, "two\nlines", wire);
      assert.equal(JSON.parse((await read(bytes, [...args, "--json"]))[0]).data64, "AP+A", wire);
    }
  });

  test("--quiet says nothing but entries", async () => {
    const channel = new Channel(server);
    await channel.publish({ n: 1 });
    const { stdout, stderr } = await everwire(["subscribe", channel.url, "--from", "beginning", "--count", "1", "--quiet"]);
    assert.deepEqual([stdout, stderr], ['{"n":1}\n', ""]);
  });

  test("ends without an error when nobody reads on, as in `everwire subscribe news | head -1`", async (t) => {
    const channel = new Channel(server);
    await channel.publish({ n: 0 });
    // A line is connected before it reads its channels, so "now" may be after what is published then.
    const command = await subscribe(t, channel.url, ["--from", "beginning"]);
    await channel.publish({ n: 1 });
    await command.lines.next("the first line");
    command.stdout.destroy();
    // The pipe is found closed by writing to it.
    for (const n of [2, 3]) await channel.publish({ n });
    assert.equal(await command.exit(), 0);
  });

  test("a pipe from subscribe to publish carries one channel to another", async (t) => {
    const [from, to] = [new Channel(server), new Channel(server)];
    const [source, sink] = [await subscribe(t, from.url, ["--from", "beginning"]), running(t, ["publish", to.url, "--lines"])];
    source.stdout.pipe(sink.stdin);
    for (const n of [1, 2, 3]) await from.publish({ n });
    await from.close();
    assert.deepEqual([await source.exit(), await sink.exit()], [0, 0]);
    assert.equal(await (await fetch(to.url)).text(), '[{"n":1},{"n":2},{"n":3}]');
  });

  const mistakes = [
    ["a wire that is none", ["news", "--wire", "carrier-pigeon"], /event-stream/],
    ["a place that is none", ["news", "--from", "Yesterday"], /now, beginning, or an offset/],
    ["a name that is none", ["a//b"], /empty segment|name/],
    ["a channel without its scheme", ["127.0.0.1:1/channels/news"], /write http:\/\/127\.0\.0\.1:1\/channels\/news/],
    ["nothing", [], /<CHANNEL>/],
  ];
  for (const [what, args, said] of mistakes) {
    test(`${what} is refused with what is possible`, async () => {
      const { code, stdout, stderr } = await everwire(["subscribe", ...args]);
      assert.ok([1, 2].includes(code), `${code}`);
      assert.equal(stdout, "");
      assert.match(stderr, said);
    });
  }
});
