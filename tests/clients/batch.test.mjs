// `POST /publish`: many entries to many channels in one request, each with an outcome of its own.

import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, describe, test } from "node:test";
import WebSocket from "ws";
import { startServer } from "../server.mjs";
import { Channel } from "./channel.mjs";
import { soon } from "./inbox.mjs";

const CONFIG = `
[[rules]]
match = "explicit/*"
create = "explicit"
`;

let server;
before(async () => (server = await startServer({ config: CONFIG })));
after(() => server?.stop());

/** Sends items, or any other content, and gives the answer as `{ status, headers, json }`. */
async function publish(items, { to = server, headers = {} } = {}) {
  const body = typeof items === "string" ? items : JSON.stringify(items);
  const type = { "content-type": "application/json" };
  const answer = await fetch(`${to.url}/publish`, { method: "POST", headers: { ...type, ...headers }, body });
  return { status: answer.status, headers: answer.headers, json: await answer.json() };
}

/** The results of items that the server took as a batch. */
async function results(items, options) {
  const { status, json } = await publish(items, options);
  assert.equal(status, 200, JSON.stringify(json));
  assert.deepEqual(Object.keys(json), ["results"]);
  return json.results;
}

/** One result's error, checked for what every problem says (RFC 9457). */
function assertError(result, status, name) {
  assert.deepEqual(Object.keys(result), ["error"], JSON.stringify(result));
  const { error } = result;
  assert.deepEqual([error.status, error.type], [status, `https://everwire.dev/problems/${name}`], error.detail);
  assert.ok(error.title.length > 0 && error.detail.length > 0);
  return error;
}

function assertRefused({ status, headers, json }, expected, name) {
  assert.equal(status, expected, JSON.stringify(json));
  assert.match(headers.get("content-type"), /^application\/problem\+json/);
  assert.equal(json.type, `https://everwire.dev/problems/${name}`);
}

/** Every entry with its event name, as an ndjson reader sees them. */
async function entries(channel, count) {
  const answer = await fetch(`${channel.url}?offset=-1&live=ndjson`);
  const found = [];
  let pending = "";
  for await (const text of answer.body.pipeThrough(new TextDecoderStream())) {
    const lines = (pending + text).split("\n");
    pending = lines.pop();
    found.push(...lines.map(JSON.parse).filter((line) => "data" in line));
    if (found.length >= count) break;
  }
  return found.map(({ offset, event, data }) => (event ? { offset, event, data } : { offset, data }));
}

const content = async (channel) => (await fetch(channel.url)).text();

describe("items", () => {
  test("go to their channels in the order of the request, and each is told its offset", async () => {
    const [chat, scores] = [new Channel(server), new Channel(server)];
    const found = await results([
      { channel: chat.name, data: { text: "hi" } },
      { channel: scores.name, data: 7, event: "goal" },
      { channel: chat.name, data: { text: "there" }, event: "reply" },
    ]);
    const [first, goal, second] = found.map(({ offset }) => offset);
    assert.ok(first < second, "offsets sort in log order");
    assert.deepEqual(await entries(chat, 2), [
      { offset: first, data: { text: "hi" } },
      { offset: second, event: "reply", data: { text: "there" } },
    ]);
    assert.deepEqual(await entries(scores, 1), [{ offset: goal, event: "goal", data: 7 }]);
    assert.equal(await scores.tail(), goal);
  });

  test("say the durability that they reached, and are never cached", async () => {
    const { status, headers } = await publish([{ channel: new Channel(server).name, data: 1 }]);
    assert.equal(status, 200);
    assert.equal(headers.get("content-type"), "application/json");
    assert.equal(headers.get("everwire-ack"), "memory");
    assert.match(headers.get("cache-control"), /no-store/);
  });

  test("are stored as they were written, and an array is one entry", async () => {
    for (const data of ["[1,[2]]", "1.0", "12345678901234567890123", '"\\u00fc \\"q\\""', "null", "false", '{"b":1,"a":2}']) {
      const channel = new Channel(server);
      const [{ offset }] = await results(`[{"channel":"${channel.name}","data":${data}}]`);
      assert.equal(await channel.tail(), offset);
      assert.equal(await content(channel), `[${data}]`);
    }
  });

  test("a string is the text itself in a channel of text", async () => {
    const channel = new Channel(server);
    await channel.publish("one\n");
    assert.ok((await results([{ channel: channel.name, data: 'two "quoted"\n' }]))[0].offset);
    assert.equal(await content(channel), 'one\ntwo "quoted"\n');
  });

  test("none at all is a batch without results", async () => {
    assert.deepEqual(await results([]), []);
  });

  test("a thousand to a hundred channels are all there", async () => {
    const channels = Array.from({ length: 100 }, () => new Channel(server));
    const items = Array.from({ length: 1000 }, (_, n) => ({ channel: channels[n % 100].name, data: n }));
    const found = await results(items);
    assert.ok(found.every(({ offset }) => offset));
    for (const [index, channel] of channels.entries()) {
      const expected = Array.from({ length: 10 }, (_, n) => 100 * n + index);
      assert.deepEqual(JSON.parse(await content(channel)), expected);
      assert.equal(await channel.tail(), found[900 + index].offset);
    }
  });

  test("wake those who read", async () => {
    const channel = new Channel(server);
    const start = await channel.publish({ n: 0 });
    const poll = fetch(`${channel.url}?offset=${start}&live=long-poll`);
    const socket = new WebSocket(channel.ws);
    const message = once(socket, "message");
    const reading = entries(channel, 2);
    await soon(once(socket, "open"), "the opening handshake");
    const [{ offset }] = await results([{ channel: channel.name, data: { n: 1 } }]);
    assert.deepEqual(await (await poll).json(), [{ n: 1 }]);
    const [data] = await soon(message, "the message");
    assert.equal(data.toString(), '{"n":1}');
    assert.deepEqual((await reading).at(-1), { offset, data: { n: 1 } });
    socket.close();
  });
});

describe("an item that is refused holds up no other", () => {
  /** Channels in each state that refuses something. */
  async function channels() {
    const [text, bytes, closed] = [new Channel(server), new Channel(server), new Channel(server)];
    await text.publish("text");
    await bytes.publish(Uint8Array.of(0, 255));
    await closed.publish({ n: 1 });
    await closed.close();
    return { text, bytes, closed };
  }

  const cases = [
    // [what, the item, status, problem]
    ["a name that is none", () => ({ channel: "a//b", data: 1 }), 400, "bad-name"],
    ["an empty name", () => ({ channel: "", data: 1 }), 400, "bad-name"],
    ["a pattern for a name", () => ({ channel: "a/*", data: 1 }), 400, "bad-name"],
    ["a name of 256 bytes", () => ({ channel: "x".repeat(256), data: 1 }), 400, "bad-name"],
    ["a channel that nobody created, where that is asked for", () => ({ channel: "explicit/one", data: 1 }), 404, "not-found"],
    ["an object for a channel of text", ({ text }) => ({ channel: text.name, data: { n: 1 } }), 400, "bad-request"],
    ["anything for a channel of bytes", ({ bytes }) => ({ channel: bytes.name, data: "AP8=" }), 400, "bad-request"],
    ["a channel that is closed", ({ closed }) => ({ channel: closed.name, data: 2 }), 409, "closed"],
    ["an event name over two lines", () => ({ channel: "events", data: 1, event: "a\nid: 7" }), 400, "bad-request"],
    ["an empty event name", () => ({ channel: "events", data: 1, event: "" }), 400, "bad-request"],
    ["an event name that a wire says by itself", () => ({ channel: "events", data: 1, event: "gap" }), 400, "bad-request"],
    ["an empty key", () => ({ channel: "keys", data: 1, key: "" }), 400, "bad-request"],
    ["a key of 10 kB", () => ({ channel: "keys", data: 1, key: "k".repeat(10_000) }), 400, "bad-request"],
  ];
  for (const [what, item, status, name] of cases) {
    test(`${what}: ${status} ${name}`, async () => {
      const channel = new Channel(server);
      const [before, refused, after] = await results([
        { channel: channel.name, data: "before" },
        item(await channels()),
        { channel: channel.name, data: "after" },
      ]);
      assertError(refused, status, name);
      assert.ok(before.offset < after.offset);
      assert.equal(await content(channel), '["before","after"]');
    });
  }

  test("the error of a closed channel tells where it ended", async () => {
    const { closed } = await channels();
    const [result] = await results([{ channel: closed.name, data: 2 }]);
    assert.equal(assertError(result, 409, "closed").offset, await closed.tail());
  });

  test("what may not be published to is refused, item by item", async (t) => {
    const config = '[[rules]]\nmatch = "open/*"\nanonymous = ["read", "publish"]\n[[rules]]\nmatch = "read/*"\nanonymous = ["read"]\n';
    const guarded = await startServer({ dev: false, config });
    t.after(() => guarded.stop());
    const items = ["open/one", "read/one", "closed/one"].map((channel) => ({ channel, data: 1 }));
    const [open, ...refused] = await results(items, { to: guarded });
    assert.ok(open.offset);
    for (const result of refused) assertError(result, 401, "unauthorized");
    assert.equal((await fetch(`${guarded.url}/channels/read/one`)).status, 404, "the refused item made no channel");
  });
});

describe("keys", () => {
  test("a repeated batch answers as the first did and appends nothing", async () => {
    const [one, two] = [new Channel(server), new Channel(server)];
    const items = [
      { channel: one.name, data: { n: 1 }, key: "k-1" },
      { channel: two.name, data: { n: 1 }, key: "k-1" },
      { channel: one.name, data: { n: 2 }, key: "k-2", event: "named" },
    ];
    const first = await results(items);
    assert.deepEqual(await results(items), first);
    assert.deepEqual(await results(items.toReversed()), first.toReversed(), "whatever stands around them");
    assert.equal(await content(one), '[{"n":1},{"n":2}]');
    assert.equal(await content(two), '[{"n":1}]');
  });

  test("the same key twice in one batch is one entry", async () => {
    const channel = new Channel(server);
    const item = { channel: channel.name, data: "once", key: "k" };
    const [first, again] = await results([item, item]);
    assert.deepEqual(again, first);
    assert.equal(await content(channel), '["once"]');
  });

  test("a key that comes back with other content is refused", async () => {
    const channel = new Channel(server);
    const changes = [{ data: 2 }, { event: "named" }];
    await results([{ channel: channel.name, data: 1, key: "k" }]);
    for (const change of changes) {
      const [result] = await results([{ channel: channel.name, data: 1, key: "k", ...change }]);
      assertError(result, 409, "key-reused");
    }
    assert.equal(await content(channel), "[1]");
  });

  test("a key is the channel's, whichever way it came", async () => {
    const channel = new Channel(server);
    const offset = await channel.publish({ n: 1 }, { "idempotency-key": "k" });
    assert.deepEqual(await results([{ channel: channel.name, data: { n: 1 }, key: "k" }]), [{ offset }]);
    assert.equal(await content(channel), '[{"n":1}]');
  });
});

describe("a request that is no batch is refused as a whole", () => {
  const good = '{"channel":"whole","data":1}';
  const cases = [
    // [what, content]
    ["nothing", ""],
    ["no JSON", `[${good},{"channel":`],
    ["one object", good],
    ["an array of something else", "[1]"],
    ["an item without a channel", `[${good},{"data":1}]`],
    ["an item without data", `[${good},{"channel":"whole"}]`],
    ["an item with a member that is unknown", `[${good},{"channel":"whole","data":1,"evnet":"typo"}]`],
    ["an item with a member twice", `[${good},{"channel":"whole","channel":"other","data":1}]`],
    ["something after the array", `[${good}] x`],
    ["a key that is no string", `[${good},{"channel":"whole","data":1,"key":7}]`],
  ];
  for (const [what, body] of cases) {
    test(`${what}: 400, with line and column, and nothing is appended`, async () => {
      const answer = await publish(body);
      assertRefused(answer, 400, "bad-content");
      assert.ok(answer.json.line >= 1 && answer.json.column >= 0, JSON.stringify(answer.json));
      assert.equal((await fetch(`${server.url}/channels/whole`)).status, 404);
    });
  }

  test("bytes that are not UTF-8: 400", async () => {
    const body = Buffer.from('[{"channel":"whole","data":"\xff"}]', "latin1");
    const answer = await fetch(`${server.url}/publish`, { method: "POST", body });
    assert.equal(answer.status, 400);
    assert.equal((await fetch(`${server.url}/channels/whole`)).status, 404);
  });

  test("another method: 405, and the one that is taken", async () => {
    for (const method of ["GET", "PUT", "DELETE"]) {
      const answer = await fetch(`${server.url}/publish`, { method });
      assert.equal(answer.status, 405, method);
      assert.match(answer.headers.get("allow"), /\bPOST\b/);
    }
  });

  test("a page of a foreign origin: 403, and nothing is appended", async () => {
    const headers = { origin: "https://stranger.example" };
    assertRefused(await publish([{ channel: "foreign", data: 1 }], { headers }), 403, "bad-origin");
    assert.equal((await fetch(`${server.url}/channels/foreign`)).status, 404);
  });
});

describe("limits", () => {
  /** A server of one test, open to everybody. */
  async function start(t, limits) {
    const config = `[limits]\n${limits}\n[channels]\nanonymous = ["read", "publish"]\n`;
    const to = await startServer({ dev: false, config });
    t.after(() => to.stop());
    return to;
  }

  test("more items than entries_per_append_max: 413, and none of them is appended", async (t) => {
    const to = await start(t, "entries_per_append_max = 3");
    const items = [1, 2, 3, 4].map((data) => ({ channel: "news", data }));
    const answer = await publish(items, { to });
    assertRefused(answer, 413, "too-large");
    assert.equal(answer.json.entries_max, 3);
    assert.equal((await fetch(`${to.url}/channels/news`)).status, 404);
    assert.equal((await results(items.slice(1), { to })).length, 3);
  });

  test("content above content_bytes_max: 413", async (t) => {
    const to = await start(t, "content_bytes_max = 1000");
    const frame = JSON.stringify([{ channel: "news", data: "" }]).length;
    const item = (bytes) => [{ channel: "news", data: "x".repeat(bytes - frame) }];
    assert.equal((await publish(item(1000), { to })).status, 200);
    assertRefused(await publish(item(1001), { to }), 413, "too-large");
  });

  test("more requests than appends_per_second_max allows: 429 with Retry-After", async (t) => {
    const to = await start(t, "appends_per_second_max = 1");
    let answer;
    let taken = -1;
    do {
      taken += 1;
      answer = await publish([{ channel: "news", data: taken }], { to });
    } while (answer.status === 200 && taken < 20);
    assertRefused(answer, 429, "too-many");
    assert.match(answer.headers.get("retry-after"), /^\d+$/);
    assert.ok(taken >= 3, `${taken} taken: what two seconds hold, and the one that is due`);
  });

  test("one channel more than channels_max: its item is refused with 503, and the others are not", async (t) => {
    const to = await start(t, "channels_max = 2");
    const items = ["one", "two", "three", "one"].map((channel) => ({ channel, data: 1 }));
    const [one, two, three, again] = await results(items, { to });
    assert.ok(one.offset && two.offset && again.offset);
    assertError(three, 503, "overloaded");
  });
});
