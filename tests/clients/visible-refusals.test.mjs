// What a page in a real browser is told when it is refused: with `refusals=visible` why, and when to come back.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startServer } from "../server.mjs";
import { launch } from "./browser.mjs";
import { Channel } from "./channel.mjs";

// One line for this machine, so that a second one is refused; nobody has a token.
const CONFIG = `
[channels]
anonymous = ["read", "publish"]

[limits]
lines_per_address_max = 1

[http]
retry_ms = 20

[[rules]]
match = "closed/*"
anonymous = []

[[rules]]
match = "named/*"
create = "explicit"
`;

let server, elsewhere, browser;
before(async () => {
  server = await startServer({ config: CONFIG, dev: false });
  elsewhere = await startServer();
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await elsewhere?.stop();
  await server?.stop();
});

async function openPage(t, origin = server.url) {
  const page = await browser.newPage();
  t.after(() => page.close());
  await page.goto(`${origin}/healthz`);
  return page;
}

/** Takes the one line that there is; gives what leaves it. */
async function takeTheLine(t, channel) {
  const ending = new AbortController();
  t.after(() => ending.abort());
  const answer = await fetch(`${channel.url}?live=ndjson`, { signal: ending.signal });
  assert.equal(answer.status, 200);
  return () => ending.abort();
}

/** Waits until the server has no line: the place of one that ended is free a moment later. */
async function nobodyReads() {
  for (let lines = 1; lines > 0; ) {
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    lines = Number(/^everwire_lines (\d+)$/m.exec(metrics)[1]);
  }
}

/** How a WebSocket of a page ends. */
function end(page, url, protocols = []) {
  return page.evaluate(
    ([url, protocols]) =>
      new Promise((ended) => {
        const socket = new WebSocket(url, protocols);
        let wasOpen = false;
        socket.onopen = () => (wasOpen = true);
        socket.onclose = ({ code, reason, wasClean }) => ended({ code, reason, wasClean, wasOpen });
      }),
    [url, protocols],
  );
}

describe("a WebSocket of a page", () => {
  const rows = [
    ["without a right", "/channels/closed/a", 4401, /not granted|credential/],
    ["with a token that is none", "/channels/a?token=nonsense", 4401, /token|credential/],
    ["at a channel that nobody has made", "/channels/named/a", 4404, /./],
    ["of a session with a token that is none", "/connect?token=nonsense", 4401, /token|credential/, ["everwire.v1"]],
  ];
  for (const [what, path, code, reason, protocols] of rows) {
    test(`${what} is closed with ${code} and a reason, and fails as all do where nobody asked for that`, async (t) => {
      await nobodyReads();
      const page = await openPage(t);
      const mark = path.includes("?") ? "&" : "?";
      const told = await end(page, `${server.ws}${path}${mark}refusals=visible`, protocols);
      assert.deepEqual({ ...told, reason: "" }, { code, reason: "", wasClean: true, wasOpen: true });
      assert.match(told.reason, reason);
      const plain = await end(page, server.ws + path, protocols);
      assert.deepEqual(plain, { code: 1006, reason: "", wasClean: false, wasOpen: false });
    });
  }

  test("from another origin is closed with 4403", async (t) => {
    await nobodyReads();
    const page = await openPage(t, elsewhere.url);
    const told = await end(page, `${server.ws}/channels/a?refusals=visible`);
    assert.deepEqual([told.code, told.wasClean], [4403, true]);
    assert.match(told.reason, /origin/i);
  });

  test("that is one too many is closed with 4429, and gets through when there is room", async (t) => {
    await nobodyReads();
    const channel = new Channel(server);
    await channel.publish("an entry");
    const leave = await takeTheLine(t, channel);
    const page = await openPage(t);
    const url = `${channel.ws}?offset=-1&refusals=visible`;
    const told = await end(page, url);
    assert.equal(told.code, 4429);
    assert.match(told.reason, /lines_per_address_max|too many|as many/);
    leave();
    await nobodyReads();
    const entry = await page.evaluate(
      (url) =>
        new Promise((got, failed) => {
          const socket = new WebSocket(url);
          socket.onmessage = ({ data }) => {
            got(data);
            socket.close();
          };
          socket.onclose = ({ code }) => failed(new Error(`closed with ${code}`));
        }),
      url,
    );
    assert.equal(entry, "an entry");
  });
});

describe("an EventSource of a page", () => {
  /** Opens one, whose story the page keeps. */
  function open(page, url) {
    return page.evaluate((url) => {
      const source = (window.source = new EventSource(url));
      window.story = { refused: [], messages: [], errors: 0 };
      source.addEventListener("refused", ({ data }) => window.story.refused.push(JSON.parse(data)));
      source.onmessage = ({ data }) => window.story.messages.push(data);
      source.onerror = () => (window.story.errors += 1);
    }, url);
  }

  const story = (page) => page.evaluate(() => ({ ...window.story, isClosed: window.source.readyState === 2 }));

  test("that is refused for a while is told why, comes back by itself and gets through", async (t) => {
    await nobodyReads();
    const channel = new Channel(server);
    await channel.publish("an entry");
    const leave = await takeTheLine(t, channel);
    const page = await openPage(t);
    await open(page, `${channel.url}?offset=-1&refusals=visible`);
    await page.waitForFunction(() => window.story.refused.length >= 2);
    const before = await story(page);
    assert.deepEqual(before.messages, []);
    assert.equal(before.isClosed, false);
    for (const { status, type } of before.refused) {
      assert.equal(status, 429);
      assert.match(type, /too-many$/);
    }
    leave();
    await page.waitForFunction(() => window.story.messages.length > 0);
    await channel.publish("another");
    await page.waitForFunction(() => window.story.messages.length > 1);
    assert.deepEqual((await story(page)).messages, ["an entry", "another"]);
    await page.evaluate(() => window.source.close());
  });

  test("that did not ask for that gives up at the first refusal", async (t) => {
    await nobodyReads();
    const channel = new Channel(server);
    const leave = await takeTheLine(t, channel);
    const page = await openPage(t);
    await open(page, `${channel.url}?offset=-1`);
    await page.waitForFunction(() => window.source.readyState === EventSource.CLOSED);
    assert.deepEqual(await story(page), { refused: [], messages: [], errors: 1, isClosed: true });
    leave();
  });

  for (const [what, path] of [
    ["a token that is none", "/channels/a?token=nonsense&refusals=visible"],
    ["no right", "/channels/closed/a?refusals=visible"],
    ["a channel that nobody has made", "/channels/named/a?refusals=visible"],
  ]) {
    test(`gives up where coming back changes nothing: ${what}`, async (t) => {
      await nobodyReads();
      const page = await openPage(t);
      await open(page, server.url + path);
      await page.waitForFunction(() => window.source.readyState === EventSource.CLOSED);
      assert.deepEqual(await story(page), { refused: [], messages: [], errors: 1, isClosed: true });
    });
  }
});
