// What a person with curl sees: publishing, every way to read over HTTP, and errors that explain themselves.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startServer } from "../server.mjs";
import { Channel, restart } from "./channel.mjs";
import { curl, curlStream } from "./curl.mjs";

const OFFSET = /^[0-9a-z_-]+$/;
const CONFIG = `
[limits]
long_poll_ms_max = 1000
`;

let server;
before(async () => (server = await startServer({ config: CONFIG })));
after(() => server?.stop());

const text = (response) => response.body.toString();
const json = (response) => JSON.parse(response.body);

describe("publishing", () => {
  test("curl's default body appends one entry, and the answer names the offset after it", async () => {
    const { url } = new Channel(server);
    const first = await curl("-d", "hello", url);
    const second = await curl("-d", "world", url);
    assert.deepEqual([first.status, second.status], [204, 204]);
    assert.match(first.headers["stream-next-offset"], OFFSET);
    assert.ok(second.headers["stream-next-offset"] > first.headers["stream-next-offset"], "offsets sort in log order");
    assert.equal(first.headers["everwire-ack"], "memory");

    const read = await curl(url);
    assert.match(read.headers["content-type"], /^text\/plain/);
    assert.equal(text(read), "helloworld");
  });

  test("curl's default body makes a JSON channel when it is JSON", async () => {
    const { url } = new Channel(server);
    await curl("-d", '{"text":"hi"}', url);
    const read = await curl(url);
    assert.match(read.headers["content-type"], /^application\/json/);
    assert.deepEqual(json(read), [{ text: "hi" }]);
  });

  test("one array level of JSON is a batch", async () => {
    const { url } = new Channel(server);
    const type = ["-H", "content-type: application/json"];
    assert.equal((await curl(...type, "-d", '[1,"two",[3]]', url)).status, 204);
    assert.equal((await curl(...type, "-d", "[[4,5]]", url)).status, 204);
    assert.deepEqual(json(await curl(url)), [1, "two", [3], [4, 5]]);
  });

  test("all 256 byte values come back as they were sent", async () => {
    const { url } = new Channel(server);
    const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
    const answer = await fetch(url, { method: "POST", headers: { "content-type": "application/octet-stream" }, body: bytes });
    assert.equal(answer.status, 204);
    assert.deepEqual((await curl(url)).body, Buffer.from(bytes));
  });

  test("a repeated idempotency key answers as the first did and appends nothing", async () => {
    const { url } = new Channel(server);
    const publish = () => curl("-H", "idempotency-key: order-17", "-d", "once", url);
    const [first, second] = [await publish(), await publish()];
    assert.deepEqual([first.status, second.status], [204, 204]);
    assert.equal(second.headers["stream-next-offset"], first.headers["stream-next-offset"]);
    assert.equal(text(await curl(url)), "once");
  });

  test("a numbered producer appends each number once, in order", async () => {
    const { url } = new Channel(server);
    const publish = (seq, epoch = 0) =>
      curl("-H", "producer-id: p", "-H", `producer-epoch: ${epoch}`, "-H", `producer-seq: ${seq}`, "-d", `${seq};`, url);
    assert.ok([200, 204].includes((await publish(0)).status));
    assert.ok([200, 204].includes((await publish(1)).status));
    assert.equal((await publish(1)).status, 204, "a duplicate is acknowledged");
    assert.equal((await publish(3)).status, 409, "a number that leaves a hole is refused");
    assert.ok([200, 204].includes((await publish(0, 1)).status), "a new epoch begins at 0");
    assert.equal((await publish(2, 0)).status, 403, "a stale epoch is fenced off");
    assert.equal(text(await curl(url)), "0;1;0;");
  });

  test("a channel is created, confirmed, refused with another type, closed and removed", async () => {
    const { url } = new Channel(server);
    const put = (type) => curl("-X", "PUT", "-H", `content-type: ${type}`, url);
    const created = await put("text/plain");
    assert.equal(created.status, 201);
    assert.ok(created.headers.location?.endsWith(new URL(url).pathname), `location: ${created.headers.location}`);
    assert.equal((await put("text/plain")).status, 200);
    assert.equal((await put("application/json")).status, 409);

    const closed = await curl("-X", "POST", "-H", "stream-closed: true", "-H", "content-type: text/plain", "-d", "bye", url);
    assert.equal(closed.status, 204);
    const refused = await curl("-H", "content-type: text/plain", "-d", "more", url);
    assert.equal(refused.status, 409);
    assert.equal(refused.headers["stream-closed"], "true");
    const read = await curl(url);
    assert.equal(text(read), "bye");
    assert.equal(read.headers["stream-closed"], "true");

    assert.equal((await curl("-X", "DELETE", url)).status, 204);
  });
});

describe("catch-up", () => {
  test("a read from an offset continues where the last one ended", async () => {
    const channel = new Channel(server);
    await channel.publish("one");
    const first = await curl(channel.url);
    assert.equal(first.headers["stream-up-to-date"], "true");
    await channel.publish("two");
    const second = await curl(`${channel.url}?offset=${first.headers["stream-next-offset"]}`);
    assert.equal(text(second), "two");
  });

  test("-1 is the beginning, now the tail, and last=N some entries before it", async () => {
    const channel = new Channel(server);
    for (const n of [1, 2, 3, 4]) await channel.publish({ n });
    assert.deepEqual(json(await curl(`${channel.url}?offset=-1`)), [{ n: 1 }, { n: 2 }, { n: 3 }, { n: 4 }]);
    assert.deepEqual(json(await curl(`${channel.url}?last=2`)), [{ n: 3 }, { n: 4 }]);
    const now = await curl(`${channel.url}?offset=now`);
    assert.deepEqual(json(now), []);
    assert.equal(now.headers["stream-next-offset"], await channel.tail());
    assert.match(now.headers["cache-control"], /no-store/);
  });

  test("an unchanged channel answers 304 to its ETag, a changed one 200", async () => {
    const channel = new Channel(server);
    await channel.publish("one");
    const { etag } = (await curl(channel.url)).headers;
    assert.match(etag, /^(W\/)?".+"$/);
    const unchanged = await curl("-H", `if-none-match: ${etag}`, channel.url);
    assert.equal(unchanged.status, 304);
    assert.equal(unchanged.body.length, 0);
    assert.equal(unchanged.headers.etag, etag, "RFC 9110, section 15.4.5");
    await channel.publish("two");
    const changed = await curl("-H", `if-none-match: ${etag}`, channel.url);
    assert.equal(changed.status, 200);
    assert.notEqual(changed.headers.etag, etag);
  });

  test("HEAD tells what GET would, without a body", async () => {
    const channel = new Channel(server);
    await channel.publish({ n: 1 });
    const [head, get] = [await curl("--head", channel.url), await curl(channel.url)];
    assert.equal(head.status, 200);
    for (const name of ["content-type", "stream-next-offset"]) assert.equal(head.headers[name], get.headers[name], name);
    assert.equal(head.body.length, 0);
  });
});

describe("live wires", () => {
  test("an event stream carries each entry with its offset as id", async () => {
    const channel = new Channel(server);
    await channel.publish("before");
    const stream = curlStream("-H", "accept: text/event-stream", channel.url);
    const head = await stream.head();
    assert.equal(head.status, 200);
    assert.match(head.headers["content-type"], /^text\/event-stream/);
    const one = await channel.publish("one\ntwo");
    const two = await channel.publish("typing…", { "everwire-event": "typing" });

    const lines = (await stream.lines.until((line) => line === "data: typing…")).filter((line) => !/^(:|retry:|$)/.test(line));
    assert.deepEqual(lines, [`id: ${one}`, "data: one", "data: two", `id: ${two}`, "event: typing", "data: typing…"]);
    await stream.stop();
  });

  test("an event stream resumes after Last-Event-ID", async () => {
    const channel = new Channel(server);
    const first = await channel.publish("first");
    await channel.publish("second");
    const stream = curlStream("-H", "accept: text/event-stream", "-H", `last-event-id: ${first}`, channel.url);
    const lines = await stream.lines.until((line) => line === "data: second");
    assert.ok(!lines.includes("data: first"));
    await stream.stop();
  });

  test("an event stream of a closed channel ends, and a reconnecting reader is told to stop by 204", async () => {
    const channel = new Channel(server);
    const offset = await channel.publish("last");
    const stream = curlStream("-H", "accept: text/event-stream", `${channel.url}?offset=-1`);
    await stream.lines.until((line) => line === "data: last");
    await channel.close();
    await stream.lines.until((line) => line === "event: closed");
    assert.equal(await stream.exit(), 0);
    const again = await curl("-H", "accept: text/event-stream", "-H", `last-event-id: ${offset}`, channel.url);
    assert.equal(again.status, 204);
  });

  for (const [query, ...asked] of [["", "-H", "accept: application/x-ndjson"], ["?live=ndjson"]]) {
    test(`ndjson, asked for by ${asked[1] ?? query}, is one object per line`, async () => {
      const channel = new Channel(server);
      await channel.publish({ n: 0 });
      const stream = curlStream(...asked, channel.url + query);
      assert.match((await stream.head()).headers["content-type"], /^application\/x-ndjson/);
      const offset = await channel.publish({ n: 1 }, { "everwire-event": "count" });
      const entry = JSON.parse(await stream.lines.next("the entry"));
      assert.deepEqual({ ...entry, time: 0 }, { offset, time: 0, event: "count", data: { n: 1 } });
      assert.ok(Math.abs(entry.time - Date.now()) < 60_000, "time is in milliseconds since 1970");
      await channel.close();
      assert.deepEqual(JSON.parse(await stream.lines.next("the end")), { closed: true });
      assert.equal(await stream.exit(), 0);
    });
  }

  test("a long poll answers at once when there is something", async () => {
    const channel = new Channel(server);
    await channel.publish("ready");
    const answer = await curl(`${channel.url}?offset=-1&live=long-poll`);
    assert.equal(answer.status, 200);
    assert.equal(text(answer), "ready");
  });

  test("a parked long poll is answered by the next entry", async () => {
    const channel = new Channel(server);
    const offset = await channel.publish("seen");
    const parked = curl(`${channel.url}?offset=${offset}&live=long-poll`);
    const next = await channel.publish("news");
    const answer = await parked;
    assert.equal(answer.status, 200);
    assert.equal(text(answer), "news");
    assert.equal(answer.headers["stream-next-offset"], next);
    assert.match(answer.headers["stream-cursor"], /^\S+$/);
  });

  test("a long poll that waits in vain ends with 204 and the offset to ask for next", async () => {
    const channel = new Channel(server);
    const offset = await channel.publish("seen");
    for (const [query, ...wish] of [["", "-H", "prefer: wait=1"], ["&live=long-poll"]]) {
      const answer = await curl(...wish, `${channel.url}?offset=${offset}${query}`);
      assert.equal(answer.status, 204);
      assert.equal(answer.headers["stream-next-offset"], offset);
      assert.equal(answer.headers["stream-up-to-date"], "true");
    }
  });
});

describe("HTTP/2 with prior knowledge", () => {
  const H2 = "--http2-prior-knowledge";

  test("publishes and catches up", async () => {
    const { url } = new Channel(server);
    const published = await curl(H2, "-d", "hello", url);
    assert.equal(published.version, "HTTP/2");
    assert.equal(published.status, 204);
    const read = await curl(H2, url);
    assert.equal(read.status, 200);
    assert.equal(text(read), "hello");
    assert.equal((await curl(H2, "-H", `if-none-match: ${read.headers.etag}`, url)).status, 304);
  });

  test("carries an event stream", async () => {
    const channel = new Channel(server);
    const stream = curlStream(H2, "-H", "accept: text/event-stream", channel.url);
    const head = await stream.head();
    assert.equal(head.version, "HTTP/2");
    assert.equal(head.status, 200);
    await channel.publish("over h2");
    await stream.lines.until((line) => line === "data: over h2");
    await channel.close();
    await stream.lines.until((line) => line === "event: closed");
    assert.equal(await stream.exit(), 0);
  });

  test("carries ndjson and parks a long poll", async () => {
    const channel = new Channel(server);
    const offset = await channel.publish({ n: 0 });
    const stream = curlStream(H2, "-H", "accept: application/x-ndjson", `${channel.url}?offset=${offset}`);
    await stream.head();
    const parked = curl(H2, `${channel.url}?offset=${offset}&live=long-poll`);
    await channel.publish({ n: 1 });
    assert.deepEqual(JSON.parse(await stream.lines.next("the entry")).data, { n: 1 });
    assert.deepEqual(json(await parked), [{ n: 1 }]);
    await stream.stop();
  });
});

describe("errors are problem details that say what to do", () => {
  const JSON_TYPE = ["-H", "content-type: application/json"];
  const cases = [
    // [what is wrong, path after the server's address, curl's arguments, status]
    ["an empty segment in a name", "/channels/a//b", [], 400],
    ["a dot segment in a name", "/channels/a/../b", ["--path-as-is"], 400],
    ["an encoded control character in a name", "/channels/a%01b", [], 400],
    ["a star in a name", "/channels/a*b", [], 400],
    ["a name that is no UTF-8", "/channels/%ff", [], 400],
    ["a name of 256 bytes", `/channels/${"n".repeat(256)}`, [], 400],
    ["an empty body", "/channels/errors/json", [...JSON_TYPE, "-X", "POST"], 400],
    ["an empty array", "/channels/errors/json", [...JSON_TYPE, "-d", "[]"], 400],
    ["invalid JSON", "/channels/errors/json", [...JSON_TYPE, "-d", '{"a":'], 400],
    ["another type than the channel's", "/channels/errors/json", ["-H", "content-type: text/plain", "-d", "x"], 409],
    ["an offset that is none", "/channels/errors/json?offset=%21", [], 400],
    ["two offsets", "/channels/errors/json?offset=-1&offset=now", [], 400],
    ["a long poll without an offset", "/channels/errors/json?live=long-poll", [], 400],
    ["an unknown live mode", "/channels/errors/json?live=telepathy", [], 400],
    ["a method that channels do not know", "/channels/errors/json", ["-X", "PATCH"], 405],
    ["a channel that must be created first", "/v1/stream/errors/absent", [], 404],
    ["an append to such a channel", "/v1/stream/errors/absent", ["-H", "content-type: text/plain", "-d", "x"], 404],
    ["an address that is none", "/nowhere", [], 404],
  ];
  before(async () => {
    assert.equal((await curl(...JSON_TYPE, "-d", "1", `${server.url}/channels/errors/json`)).status, 204);
  });
  for (const [what, path, args, status] of cases) {
    test(`${status} for ${what}`, async () => {
      const answer = await curl(...args, server.url + path);
      assert.equal(answer.status, status, text(answer));
      assert.match(answer.headers["content-type"], /^application\/problem\+json/);
      const problem = json(answer);
      assert.match(problem.type, /^https:\/\/everwire\.dev\/problems\/[a-z-]+$/);
      assert.equal(problem.status, status);
      assert.ok(problem.title && problem.detail, text(answer));
      if (status === 405) assert.match(answer.headers.allow ?? "", /GET/, "RFC 9110, section 15.5.6");
    });
  }

  test("invalid JSON is located by line and column", async () => {
    const answer = await curl(...JSON_TYPE, "-d", '{\n  "a": nope\n}', new Channel(server).url);
    assert.equal(answer.status, 400);
    assert.match(json(answer).detail, /line 2.*column \d+/);
  });
});

describe("operations", () => {
  for (const path of ["/healthz", "/readyz", "/metrics"]) {
    test(`${path} answers 200`, async () => {
      assert.equal((await curl(server.url + path)).status, 200);
    });
  }

  test("metrics count entries in the Prometheus text format", async () => {
    await new Channel(server).publish("counted");
    const metrics = text(await curl(`${server.url}/metrics`));
    assert.match(metrics, /^# TYPE everwire_\w+ counter$/m);
    for (const line of metrics.trimEnd().split("\n")) {
      assert.match(line, /^(# (HELP|TYPE|UNIT|EOF).*|[a-z_:]\w*(\{.*\})? \S+)$/);
    }
  });

  test("SIGTERM ends open streams cleanly, and the server with 0", async (t) => {
    const other = await startServer();
    t.after(() => other.stop());
    const channel = new Channel(other);
    const stream = curlStream("-H", "accept: text/event-stream", channel.url);
    await stream.head();
    await channel.publish("in time");
    await stream.lines.until((line) => line === "data: in time");
    assert.equal(await other.stop("SIGTERM"), 0);
    assert.equal(await stream.exit(), 0, "the chunked body ends with its last chunk, RFC 9112, section 7.1");
  });

  test("an offset from an earlier life of the server is a gap, 410, with the offsets that exist", async (t) => {
    const first = await startServer();
    t.after(() => first.stop());
    const channel = new Channel(first);
    const offset = await channel.publish({ life: 1 });
    assert.equal(await first.stop(), 0);

    const second = await restart(first);
    t.after(() => second.stop());
    const next = await channel.publish({ life: 2 });
    const answer = await curl(`${channel.url}?offset=${offset}`);
    assert.equal(answer.status, 410);
    const { oldest, newest } = json(answer);
    assert.match(oldest, OFFSET);
    assert.equal(newest, next);
  });
});
