// What the server refuses: strangers, foreign origins, and more than its limits, each by the answer that names it.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import WebSocket from "ws";
import { startServer } from "../server.mjs";
import { Channel } from "./channel.mjs";
import { curl, curlStream } from "./curl.mjs";
import { soon } from "./inbox.mjs";

/** The status with which an upgrade is answered, 101 if the server accepts it. */
function upgrade(url, options) {
  const status = new Promise((answered) => {
    const socket = new WebSocket(url, options);
    socket.on("error", () => {});
    socket.on("unexpected-response", (_, response) => (answered(response.statusCode), socket.terminate()));
    socket.on("open", () => (answered(101), socket.terminate()));
  });
  return soon(status, "an answer to the opening handshake");
}

function assertProblem(answer, status, name) {
  assert.equal(answer.status, status, answer.body.toString());
  assert.match(answer.headers["content-type"], /^application\/problem\+json/);
  const problem = JSON.parse(answer.body);
  assert.equal(problem.type, `https://everwire.dev/problems/${name}`);
  assert.ok(problem.detail.length > 0);
}

describe("a server without any permission", () => {
  let server;
  before(async () => (server = await startServer({ dev: false })));
  after(() => server?.stop());

  const attempts = [
    ["reading", "/channels/news"],
    ["waiting", "/channels/news?offset=now&live=long-poll"],
    ["streaming", "/channels/news", "-H", "accept: text/event-stream"],
    ["publishing", "/channels/news", "-d", "hello"],
    ["creating", "/channels/news", "-X", "PUT"],
    ["deleting", "/channels/news", "-X", "DELETE"],
    ["reading a Durable Stream", "/v1/stream/news"],
  ];
  for (const [what, path, ...args] of attempts) {
    test(`refuses ${what}`, async () => {
      const answer = await curl(...args, server.url + path);
      assertProblem(answer, 401, "unauthorized");
      assert.match(answer.headers["www-authenticate"] ?? "", /^Bearer/, "RFC 9110, section 15.5.2");
    });
  }

  test("refuses a WebSocket", async () => {
    assert.equal(await upgrade(`${server.ws}/channels/news`), 401);
  });

  test("has no echo, which would send any bytes to any page", async () => {
    assert.equal(await upgrade(`${server.ws}/echo`), 404);
  });

  test("still tells that it is well", async () => {
    assert.equal((await curl(`${server.url}/healthz`)).status, 200);
  });
});

describe("what anybody may do is told by the first rule that matches", () => {
  let server;
  before(async () => {
    server = await startServer({
      dev: false,
      config: `
        [[rules]]
        match = "open/*"
        anonymous = ["read", "publish"]

        [[rules]]
        match = "open/**"
        anonymous = ["read"]
      `,
    });
  });
  after(() => server?.stop());

  const cases = [
    // [channel, publishing, a WebSocket's reading]
    ["open/one", 204, 101],
    ["open/one/two", 401, 101],
    ["closed/one", 401, 401],
    ["open", 401, 401],
  ];
  for (const [name, publishing, reading] of cases) {
    test(`${name}: publishing is answered with ${publishing}, reading with ${reading}`, async () => {
      assert.equal((await curl("-d", "hello", `${server.url}/channels/${name}`)).status, publishing);
      assert.equal(await upgrade(`${server.ws}/channels/${name}`), reading);
    });
  }
});

describe("pages of other origins", () => {
  let server;
  before(async () => {
    server = await startServer({
      dev: false,
      config: `
        [http]
        origins = ["https://friend.example"]

        [channels]
        anonymous = ["read", "publish"]
      `,
    });
  });
  after(() => server?.stop());

  const cases = [
    // [what, the page's origin, whether it may]
    ["no browser", () => undefined, true],
    ["a page of the server's own", () => server.url, true],
    ["a page on the list", () => "https://friend.example", true],
    ["a page of a stranger", () => "https://stranger.example", false],
    ["a page whose origin only begins like one on the list", () => "https://friend.example.stranger.example", false],
    ["a page on the list, in clear text", () => "http://friend.example", false],
    ["a sandboxed page or a file", () => "null", false],
  ];
  for (const [what, origin, may] of cases) {
    test(`${what} ${may ? "may" : "may not"} open a WebSocket`, async () => {
      const status = await upgrade(`${server.ws}/channels/news`, origin() && { origin: origin() });
      assert.equal(status, may ? 101 : 403);
    });
  }

  test("a page on the list may read what it asked for, headers included; a stranger's may not", async () => {
    const channel = new Channel(server);
    await channel.publish("text");
    const friend = await curl("-H", "origin: https://friend.example", channel.url);
    assert.equal(friend.headers["access-control-allow-origin"], "https://friend.example");
    assert.match(friend.headers["access-control-expose-headers"].toLowerCase(), /stream-next-offset/);
    assert.match(friend.headers.vary.toLowerCase(), /origin/, "a shared cache keeps the answers apart");
    const stranger = await curl("-H", "origin: https://stranger.example", channel.url);
    assert.equal(stranger.headers["access-control-allow-origin"], undefined);
  });

  test("a preflight is answered for the methods and fields that channels take, and only to those on the list", async () => {
    const preflight = (origin) =>
      curl(
        ...["-X", "OPTIONS", "-H", `origin: ${origin}`, "-H", "access-control-request-method: POST"],
        ...["-H", "access-control-request-headers: content-type,idempotency-key,producer-id", `${server.url}/channels/news`],
      );
    const friend = await preflight("https://friend.example");
    assert.ok([200, 204].includes(friend.status), `${friend.status}`);
    assert.equal(friend.headers["access-control-allow-origin"], "https://friend.example");
    assert.match(friend.headers["access-control-allow-methods"], /POST/);
    for (const field of ["content-type", "idempotency-key", "producer-id"]) {
      assert.ok(friend.headers["access-control-allow-headers"].toLowerCase().includes(field), field);
    }
    assert.equal((await preflight("https://stranger.example")).headers["access-control-allow-origin"], undefined);
  });
});

describe("limits", () => {
  const ANYBODY = '\n[channels]\nanonymous = ["read", "publish"]\n';

  /** A server of one test. */
  async function start(t, config) {
    const server = await startServer({ dev: false, config: config + ANYBODY });
    t.after(() => server.stop());
    return server;
  }

  test("content above content_bytes_max is refused with 413, whether its length is told or not", async (t) => {
    const server = await start(t, "[limits]\ncontent_bytes_max = 1000");
    const { url } = new Channel(server);
    assert.equal((await curl("-d", "x".repeat(1000), url)).status, 204);
    assertProblem(await curl("-d", "x".repeat(1001), url), 413, "too-large");
    assertProblem(await curl("-H", "transfer-encoding: chunked", "-d", "x".repeat(1001), url), 413, "too-large");
  });

  test("more entries than entries_per_append_max are refused with 413, and none of them is appended", async (t) => {
    const server = await start(t, "[limits]\nentries_per_append_max = 3");
    const { url } = new Channel(server);
    const type = ["-H", "content-type: application/json"];
    assert.equal((await curl(...type, "-d", "[1,2,3]", url)).status, 204);
    assertProblem(await curl(...type, "-d", "[4,5,6,7]", url), 413, "too-large");
    assert.equal((await curl(url)).body.toString(), "[1,2,3]");
  });

  test("a target above target_bytes_max is refused with 414", async (t) => {
    const server = await start(t, "[limits]\ntarget_bytes_max = 200");
    assertProblem(await curl(`${server.url}/channels/news?${"x".repeat(200)}`), 414, "uri-too-long");
  });

  test("one line more than lines_per_address_max is refused with 429, on every wire, until one ends", async (t) => {
    const server = await start(t, "[limits]\nlines_per_address_max = 2");
    const { url, ws } = new Channel(server);
    const lines = [0, 1].map(() => curlStream("-H", "accept: text/event-stream", url));
    t.after(() => Promise.all(lines.map((line) => line.stop())));
    for (const line of lines) assert.equal((await line.head()).status, 200);

    const refused = await curl("-H", "accept: application/x-ndjson", url);
    assertProblem(refused, 429, "too-many");
    assert.match(refused.headers["retry-after"] ?? "", /^\d+$/, "RFC 6585, section 4");
    assert.equal(await upgrade(ws), 429);

    await lines.pop().stop();
    // The server notices in its own time that the connection is gone.
    let status;
    for (const deadline = Date.now() + 5_000; status !== 101 && Date.now() < deadline; ) status = await upgrade(ws);
    assert.equal(status, 101);
  });

  test("one line more than lines_max is refused with 503", async (t) => {
    const server = await start(t, "[limits]\nlines_max = 1");
    const { url, ws } = new Channel(server);
    const line = curlStream("-H", "accept: text/event-stream", url);
    t.after(() => line.stop());
    assert.equal((await line.head()).status, 200);
    assertProblem(await curl("-H", "accept: text/event-stream", url), 503, "overloaded");
    assert.equal(await upgrade(ws), 503);
    assert.equal((await curl("-d", "still", url)).status, 204, "what is no line is served");
  });

  test("more appends than appends_per_second_max allow are refused with 429 and the time to wait", async (t) => {
    const server = await start(t, "[limits]\nappends_per_second_max = 5");
    const { url } = new Channel(server);
    const answers = await Promise.all(Array.from({ length: 40 }, () => fetch(url, { method: "POST", body: "x" })));
    const refused = answers.filter(({ status }) => status === 429);
    assert.ok(refused.length >= 20 && refused.length < 40, `${refused.length} of 40 were refused`);
    for (const { headers } of refused) assert.match(headers.get("retry-after") ?? "", /^\d+$/);
    const text = await (await fetch(url)).text();
    assert.equal(text.length, answers.filter(({ status }) => status === 204).length, "what was refused was not appended");
  });

  test("one channel more than channels_max is refused with 503", async (t) => {
    const server = await start(t, "[limits]\nchannels_max = 2");
    assert.equal((await curl("-d", "x", new Channel(server).url)).status, 204);
    const second = new Channel(server);
    assert.equal((await curl("-d", "x", second.url)).status, 204);
    assertProblem(await curl("-d", "x", new Channel(server).url), 503, "overloaded");
    assert.equal((await curl("-d", "x", second.url)).status, 204, "those that exist are served");
  });

  test("a catch-up longer than page_bytes_max comes in pages that join without a seam", async (t) => {
    const server = await start(t, "[limits]\npage_bytes_max = 1000");
    const channel = new Channel(server);
    for (let n = 0; n < 100; n += 1) await channel.publish({ n, filling: "x".repeat(90) });
    const numbers = [];
    let pages = 0;
    for (let offset = "-1", upToDate = false; !upToDate; pages += 1) {
      const page = await curl(`${channel.url}?offset=${offset}`);
      assert.equal(page.status, 200);
      assert.ok(page.body.length <= 1_200, `${page.body.length} bytes`);
      numbers.push(...JSON.parse(page.body).map(({ n }) => n));
      offset = page.headers["stream-next-offset"];
      upToDate = page.headers["stream-up-to-date"] === "true";
    }
    assert.deepEqual(numbers, Array.from({ length: 100 }, (_, n) => n));
    assert.ok(pages > 5, `${pages} pages`);
  });

  test("a reader that comes after retain_entries were passed is told of the gap", async (t) => {
    const server = await start(t, "[[rules]]\nmatch = \"**\"\nretain_entries = 3\n");
    const channel = new Channel(server);
    const first = await channel.publish({ n: 1 });
    for (const n of [2, 3, 4, 5]) await channel.publish({ n });
    assert.equal((await curl(channel.url)).body.toString(), '[{"n":3},{"n":4},{"n":5}]');
    const gap = await curl(`${channel.url}?offset=${first}`);
    assertProblem(gap, 410, "gap");
    const { oldest } = JSON.parse(gap.body);
    assert.equal((await curl(`${channel.url}?offset=${oldest}`)).body.toString(), '[{"n":3},{"n":4},{"n":5}]');
  });
});
