// The page at `/` in Chromium: five wires side by side, and the account that each gives of the log.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { startServer } from "../server.mjs";
import { launch } from "./browser.mjs";
import { Channel, restart } from "./channel.mjs";
import { startPathProxy, startProxy } from "./proxy.mjs";

const WIRES = ["websocket", "event-stream", "ndjson", "long-poll", "polling"];
const REPORTS = fileURLToPath(new URL("../../target/reports/", import.meta.url));
const WAIT_MS_MAX = 15_000;

// Most of a test's time is waiting for the wire that asks once a second.
const SIDE_BY_SIDE = { concurrency: 3 };

// Wires that the server sends away may come back at once.
const CONFIG = "[stop]\nreconnect_ms_max = 50\n";

// What Chromium itself writes to the console about requests that did not come through, about gaps, and about a server
// that stops, which a poll may meet.
const NETWORK_FAILS = /net::ERR_|WebSocket connection to|status of (404|410|503)/;

let server, browser;
before(async () => {
  mkdirSync(REPORTS, { recursive: true });
  server = await startServer({ config: CONFIG });
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** A browser profile that checks, when its test ends, that its pages asked only their server and complained of nothing. */
async function openProfile(t, { except = /^$/, ...options } = {}) {
  const profile = await browser.newContext({ viewport: { width: 1280, height: 1000 }, ...options });
  const hosts = new Set();
  const complaints = [];
  profile.on("request", (request) => hosts.add(new URL(request.url()).hostname));
  profile.on("weberror", (thrown) => complaints.push(thrown.error().stack));
  profile.on("console", (message) => {
    if (!except.test(message.text())) complaints.push(`${message.type()}: ${message.text()}`);
  });
  profile.on("page", (page) => page.on("websocket", (socket) => hosts.add(new URL(socket.url()).hostname)));
  t.after(async () => {
    await profile.close();
    assert.deepEqual([...hosts], ["127.0.0.1"], "hosts that the page asked");
    assert.deepEqual(complaints, [], "the page's console");
  });
  return profile;
}

/** The page on a channel, in a profile of its own, with all its wires live. */
async function openPage(t, channel, { origin = server.url, ...options } = {}) {
  const profile = await openProfile(t, options);
  const page = await profile.newPage();
  await page.goto(`${origin}/#${channel.name}`);
  await allAre(page, "live");
  return page;
}

/** What the page has counted, once that meets a condition. */
async function counted(page, what, condition, argument) {
  try {
    await page.waitForFunction(condition, argument, { timeout: WAIT_MS_MAX, polling: 20 });
  } catch (error) {
    const snapshot = await page.evaluate(() => window.everwire?.snapshot());
    throw new Error(`waited for ${what}: ${error.message}\n${JSON.stringify(snapshot, null, 1)}`);
  }
  return page.evaluate(() => window.everwire.snapshot());
}

function allAre(page, state) {
  return counted(page, `all wires ${state}`, (state) => {
    const wires = Object.values(window.everwire?.snapshot().wires ?? {});
    return wires.length === 5 && wires.every((wire) => wire.state === state);
  }, state);
}

function publishedBy(page, count) {
  return counted(page, `${count} published`, (count) => window.everwire.snapshot().published >= count, count);
}

/** Each wire is live and delivered `received` entries, each once, in order; and its card says so. */
async function assertExact(page, received, { gaps = 0 } = {}) {
  const snapshot = await counted(page, `${received} entries on all wires`, (received) => {
    const wires = Object.values(window.everwire.snapshot().wires);
    return wires.every((wire) => wire.state === "live" && wire.received >= received && wire.unchecked === 0);
  }, received);
  assert.deepEqual(Object.keys(snapshot.wires), WIRES);
  for (const [wire, figures] of Object.entries(snapshot.wires)) {
    const { lost, doubled, inOrder } = figures;
    const account = { received: figures.received, lost, doubled, inOrder, gaps: figures.gaps };
    assert.deepEqual(account, { received, lost: 0, doubled: 0, inOrder: true, gaps }, wire);
  }
  const verdict = `${received.toLocaleString("en")} received · 0 lost · 0 doubled · in order`;
  await counted(page, `"${verdict}" on all cards`, (verdict) => {
    const shown = [...document.querySelectorAll("[data-wire] .verdict")].map((line) => line.textContent);
    return shown.length === 5 && shown.every((line) => line === verdict);
  }, verdict);
  return snapshot;
}

/** The newest entry on each card. */
async function assertNewest(page, text) {
  for (const wire of WIRES) {
    const newest = page.locator(`[data-wire="${wire}"] .entries li:first-child span`);
    assert.equal(await newest.textContent(), text, wire);
  }
}

async function type(page, text) {
  await page.fill("#text", text);
  await page.click("#publish");
}

function setRate(page, rate) {
  return page.locator("#rate").fill(String(rate));
}

/** Ends publishing; as the page publishes one entry after another, this last one is the last of all. */
async function publishLast(page) {
  await page.locator("#auto").uncheck();
  await type(page, "the last");
  await counted(page, "the last entry on all cards", () => {
    const newest = [...document.querySelectorAll("[data-wire] .entries li:first-child span")];
    return newest.every((entry) => entry.textContent === "the last");
  });
}

/** The texts of all entries, as the server tells them to somebody else. */
async function texts(channel) {
  const answer = await fetch(channel.url);
  assert.equal(answer.headers.get("stream-up-to-date"), "true", "one page holds the whole log");
  return (await answer.json()).map(({ text }) => text);
}

describe("what is published", SIDE_BY_SIDE, () => {
  test("an entry that is typed appears on every wire", async (t) => {
    const channel = new Channel(server);
    const page = await openPage(t, channel);
    await type(page, "hello <b>world</b>");
    const { published } = await assertExact(page, 1);
    assert.equal(published, 1);
    await assertNewest(page, "hello <b>world</b>");
    assert.deepEqual(await texts(channel), ["hello <b>world</b>"]);
    await page.screenshot({ path: `${REPORTS}page-typed.png`, fullPage: true });
  });

  test("raw JSON is published as it is, an array as so many entries, and what is no JSON not at all", async (t) => {
    const channel = new Channel(server);
    const page = await openPage(t, channel);
    await page.locator("#as-json").check();
    await type(page, '{"text":');
    assert.match(await page.textContent("#message"), /^not published: this is no JSON/);
    await type(page, '[{"text":"one"},{"text":"two"},{"text":"three"}]');
    await assertExact(page, 3);
    assert.equal(await page.textContent("#message"), "");
    assert.deepEqual(await texts(channel), ["one", "two", "three"]);
  });

  test("entries of others, named or not, are counted like its own, and those from before it came are not", async (t) => {
    const channel = new Channel(server);
    await channel.publish({ text: "before the page came" });
    const page = await openPage(t, channel);
    for (let n = 1; n <= 40; n += 1) {
      await channel.publish({ text: `entry ${n}` }, n % 3 ? {} : { "everwire-event": `kind-${n % 4}` });
    }
    const { published } = await assertExact(page, 40);
    assert.equal(published, 0);
    await assertNewest(page, "entry 40");
  });

  test("a channel of plain text is read, and published to as text", async (t) => {
    const channel = new Channel(server);
    await channel.publish("first");
    // The page takes a channel for JSON until it is told.
    const page = await openPage(t, channel, { except: /status of 409/ });
    await type(page, "second");
    await assertExact(page, 1);
    await type(page, "third");
    await assertExact(page, 2);
    assert.equal(await (await fetch(channel.url)).text(), "firstsecondthird");
  });

  test("a channel that is closed ends every wire after its last entry", async (t) => {
    const channel = new Channel(server);
    const page = await openPage(t, channel);
    await channel.publish({ text: "the end" });
    await channel.close();
    const { wires } = await allAre(page, "closed");
    for (const [wire, { received, lost, doubled }] of Object.entries(wires)) {
      assert.deepEqual([received, lost, doubled], [1, 0, 0], wire);
    }
    await counted(page, "buttons that do nothing", () => document.querySelectorAll("[data-switch]:disabled").length === 5);
  });
});

describe("wires that are cut", SIDE_BY_SIDE, () => {
  test("each in turn and all at once, at twenty entries a second: none loses or doubles an entry", async (t) => {
    const channel = new Channel(server);
    const page = await openPage(t, channel);
    await setRate(page, 20);
    await page.locator("#auto").check();
    await publishedBy(page, 5);
    for (const wire of WIRES) {
      await page.click(`[data-wire="${wire}"] [data-action="cut"]`);
      const isCut = (wire) => window.everwire.snapshot().wires[wire].state === "cut";
      const { published } = await counted(page, `${wire} cut`, isCut, wire);
      // One more may have been on its way to the page when the wire was cut.
      await publishedBy(page, published + 9);
      await page.click(`[data-wire="${wire}"] [data-action="resume"]`);
    }
    const turns = await allAre(page, "live");
    for (const wire of WIRES) {
      const { cuts, resumed, lastResume } = turns.wires[wire];
      assert.deepEqual([cuts, resumed], [1, 1], wire);
      assert.ok(lastResume.entries >= 8, `${wire} caught up on ${lastResume.entries}`);
    }

    await page.click('#cut-all[data-action="cut-all"]');
    const atCut = await allAre(page, "cut");
    await publishedBy(page, atCut.published + 20);
    await page.screenshot({ path: `${REPORTS}page-all-cut.png`, fullPage: true });
    await page.click('#cut-all[data-action="resume-all"]');
    await allAre(page, "live");
    await publishLast(page);

    const log = await texts(channel);
    assert.deepEqual(log, [...log.slice(0, -1).map((_, n) => `tick ${n + 1}`), "the last"]);
    const end = await assertExact(page, log.length);
    assert.equal(end.published, log.length);
    for (const wire of WIRES) assert.deepEqual([end.wires[wire].cuts, end.wires[wire].resumed], [2, 2], wire);
    await page.screenshot({ path: `${REPORTS}page-resumed.png`, fullPage: true });
  });

  test("by the network, again and again, at fifty entries a second", async (t) => {
    const proxy = await startProxy(server);
    t.after(() => proxy.stop());
    const channel = new Channel(server);
    const page = await openPage(t, channel, { origin: proxy.url, except: NETWORK_FAILS });
    await setRate(page, 50);
    await page.locator("#auto").check();
    let { published } = await publishedBy(page, 10);
    for (let cut = 0; cut < 3; cut += 1) {
      proxy.cut();
      ({ published } = await publishedBy(page, published + 15));
    }
    proxy.break();
    await counted(page, "a publish that fails", () => document.getElementById("message").textContent.startsWith("not published"));
    proxy.mend();
    await publishedBy(page, published + 15);
    await publishLast(page);
    // A publish whose answer was cut off is in the log, though the page cannot know it.
    const log = await texts(channel);
    const end = await assertExact(page, log.length);
    assert.ok(end.published <= log.length, `${end.published} published, ${log.length} in the log`);
    // At least once: a wire that still waits to come back does not notice the next cut.
    for (const wire of WIRES.slice(0, 3)) assert.ok(end.wires[wire].resumed >= 1, `${wire} was never cut`);
  });

  test("by a restart of the server, whose memory is gone: one gap is told, and nothing else is missed", async (t) => {
    const first = await startServer({ config: CONFIG });
    let second;
    t.after(() => first.stop());
    t.after(() => second?.stop());
    const channel = new Channel(first);
    const page = await openPage(t, channel, { origin: first.url, except: NETWORK_FAILS });
    for (const n of [1, 2, 3]) await type(page, `first life ${n}`);
    await assertExact(page, 3);

    assert.equal(await first.stop(), 0);
    await allAre(page, "resuming");
    second = await restart(first, { config: CONFIG });
    await allAre(page, "live");
    for (const n of [1, 2]) await type(page, `second life ${n}`);
    await assertExact(page, 5, { gaps: 1 });
    await assertNewest(page, "second life 2");
    await page.screenshot({ path: `${REPORTS}page-restarted.png`, fullPage: true });
  });
});

describe("the account is no decoration", SIDE_BY_SIDE, () => {
  /** The page on a channel whose answers to polling pass through `change`, a function of their entries. */
  async function openWithPolling(t, channel, change) {
    const profile = await openProfile(t);
    const page = await profile.newPage();
    const isPoll = (url) => url.pathname === channel.path && !url.searchParams.has("live");
    await page.route(isPoll, async (route) => {
      const request = route.request();
      if (request.method() !== "GET" || request.headers().accept !== "*/*") return route.continue();
      const answer = await route.fetch();
      const isEntries = answer.status() === 200 && answer.headers()["content-type"] === "application/json";
      await route.fulfill(isEntries ? { response: answer, json: change(await answer.json()) } : { response: answer });
    });
    await page.goto(`${server.url}/#${channel.name}`);
    await allAre(page, "live");
    return page;
  }

  const cases = [
    ["loses one", (entries) => entries.slice(1), { lost: 1, doubled: 0, inOrder: true }],
    ["delivers one twice", ([first, ...rest]) => [first, first, ...rest], { lost: 0, doubled: 1, inOrder: true }],
    ["mixes two up", ([first, second, ...rest]) => [second, first, ...rest], { lost: 0, doubled: 0, inOrder: false }],
  ];
  for (const [what, change, expected] of cases) {
    test(`a wire that ${what} is told apart from the others`, async (t) => {
      const channel = new Channel(server);
      await channel.publish({ text: "so that there is a type" });
      const page = await openWithPolling(t, channel, (entries) => (entries.length === 3 ? change(entries) : entries));
      await page.click('[data-wire="polling"] [data-action="cut"]');
      await page.locator("#as-json").check();
      await type(page, '[{"text":"one"},{"text":"two"},{"text":"three"}]');
      await publishedBy(page, 3);
      await page.click('[data-wire="polling"] [data-action="resume"]');
      const { wires } = await counted(page, "all wires with their entries", () => {
        const wires = Object.values(window.everwire.snapshot().wires);
        return wires.every((wire) => wire.state === "live" && wire.received >= 2 && wire.unchecked === 0);
      });
      for (const wire of WIRES) {
        const { lost, doubled, inOrder } = wires[wire];
        const sound = { lost: 0, doubled: 0, inOrder: true };
        assert.deepEqual({ lost, doubled, inOrder }, wire === "polling" ? expected : sound, wire);
      }
    });
  }
});

describe("the page itself", SIDE_BY_SIDE, () => {
  test("watches another channel that is typed in, and leaves the first alone", async (t) => {
    const [first, second] = [new Channel(server), new Channel(server, "ünï cödé's")];
    const page = await openPage(t, first);
    await type(page, "to the first");
    await assertExact(page, 1);
    await page.fill("#channel", second.name);
    await page.locator("#channel").blur();
    await counted(page, "the second channel", (name) => window.everwire.snapshot().channel === name, second.name);
    await allAre(page, "live");
    await type(page, "to the second");
    await assertExact(page, 1);
    assert.deepEqual(await texts(first), ["to the first"]);
    assert.deepEqual(await texts(second), ["to the second"]);
    assert.equal(decodeURI(new URL(page.url()).hash), `#${second.name}`, "can be shared and bookmarked");

    await page.fill("#channel", "not//a/name");
    await page.locator("#channel").blur();
    assert.equal((await page.evaluate(() => window.everwire.snapshot())).channel, second.name);
  });

  test("works by keyboard alone", async (t) => {
    const channel = new Channel(server);
    const page = await openPage(t, channel);
    /** Tab, until the focus is on what matches; it is visible wherever it goes. */
    async function tabTo(selector) {
      for (let step = 0; step < 60; step += 1) {
        await page.keyboard.press("Tab");
        const focused = await page.evaluate((selector) => {
          const at = document.activeElement;
          // A field may leave its outline to the box around it.
          const isVisible = [at, at.parentElement].some((box) => box && getComputedStyle(box).outlineStyle !== "none");
          return { isThere: at.matches(selector), isVisible: isVisible || at === document.body, html: at.outerHTML };
        }, selector);
        assert.ok(focused.isVisible, `the focus cannot be seen on ${focused.html}`);
        if (focused.isThere) return;
      }
      assert.fail(`Tab never comes to ${selector}`);
    }
    await tabTo("#text");
    await page.keyboard.type(" by keyboard");
    await page.keyboard.press("Enter");
    await assertExact(page, 1);

    await tabTo("#auto");
    await page.keyboard.press("Space");
    await tabTo("#rate");
    for (let n = 0; n < 15; n += 1) await page.keyboard.press("ArrowRight");
    assert.equal(await page.textContent("#rate-value"), "20 a second");
    for (const wire of WIRES) {
      await tabTo(`[data-wire="${wire}"] [data-action="cut"]`);
      await page.keyboard.press("Enter");
      const isCut = (wire) => window.everwire.snapshot().wires[wire].state === "cut";
      const { published } = await counted(page, `${wire} cut`, isCut, wire);
      await publishedBy(page, published + 3);
      const button = `[data-wire="${wire}"] [data-action="resume"]`;
      await counted(page, "the focus where it was", (button) => document.activeElement.matches(button), button);
      await page.keyboard.press("Space");
    }
    const { wires } = await allAre(page, "live");
    for (const wire of WIRES) assert.deepEqual([wires[wire].cuts, wires[wire].resumed], [1, 1], wire);

    await page.reload();
    await allAre(page, "live");
    await tabTo("#text");
    await page.keyboard.press("Enter");
    await assertExact(page, 1);
  });

  test("in two windows, the one looked at last has all wires, and both have every entry", async (t) => {
    const channel = new Channel(server);
    const profile = await openProfile(t);
    const [first, second] = [await profile.newPage(), await profile.newPage()];
    await first.goto(`${server.url}/#${channel.name}`);
    await allAre(first, "live");
    await second.goto(`${server.url}/#${channel.name}`);
    await allAre(second, "live");
    const { wires } = await first.evaluate(() => window.everwire.snapshot());
    assert.deepEqual(WIRES.map((wire) => wires[wire].state), ["live", "cut", "cut", "cut", "live"]);
    for (const n of [1, 2, 3]) await type(second, `from the second ${n}`);
    await assertExact(second, 3);
    await second.close();
    // What a window manager would say to the window that is looked at again.
    await first.evaluate(() => window.dispatchEvent(new Event("focus")));
    await assertExact(first, 3);
  });

  test("lets nothing run but its own files", async (t) => {
    const page = await openPage(t, new Channel(server), { except: /Content Security Policy|status of 404/ });
    const ran = await page.evaluate(() => {
      const script = document.createElement("script");
      script.textContent = "window.injected = true";
      document.body.append(script);
      document.body.insertAdjacentHTML("beforeend", '<img src="/nothing" onerror="window.injected = true">');
      const frame = document.createElement("iframe");
      frame.srcdoc = "<script>parent.injected = true</script>";
      document.body.append(frame);
      return new Promise((done) => (frame.onload = () => done(window.injected)));
    });
    assert.equal(ran, undefined);
    const answer = await fetch(`${server.url}/`);
    const policy = answer.headers.get("content-security-policy");
    for (const part of ["default-src 'none'", "script-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"]) {
      assert.ok(policy.includes(part), `${part} in ${policy}`);
    }
    assert.ok(!/unsafe|data:|\*/.test(policy), policy);
    assert.equal(answer.headers.get("x-content-type-options"), "nosniff");
    assert.equal(answer.headers.get("referrer-policy"), "no-referrer");
  });

  for (const [how, takenAway] of [["by the server itself", false], ["by a proxy in front", true]]) {
    test(`works below a prefix that is taken away ${how}, and so does the chat`, async (t) => {
      // Closed first, so that no page sees its server go.
      const profile = await openProfile(t);
      const shared = await startServer({ config: `${CONFIG}[http]\nprefix = "/apps/live"\n` });
      t.after(() => shared.stop());
      const front = takenAway ? await startPathProxy(shared, "/apps/live") : shared;
      if (takenAway) t.after(() => front.stop());
      const channel = new Channel(shared);
      const page = await profile.newPage();
      // A proxy that takes the prefix away leads there by itself.
      await page.goto(`${front.url}/apps/live${takenAway ? "/" : ""}#${channel.name}`);
      assert.equal(page.url(), `${front.url}/apps/live/#${channel.name}`);
      await allAre(page, "live");
      await type(page, "below a prefix");
      await assertExact(page, 1);
      assert.equal(await page.textContent("#root"), "/apps/live/channels/");
      assert.match(await page.textContent("#recipe-publish"), /\/apps\/live\/channels\/test\//);
      assert.deepEqual(await texts(channel), ["below a prefix"]);
      await page.screenshot({ path: `${REPORTS}page-prefix.png`, fullPage: true });

      await page.goto(`${front.url}/apps/live/examples/chat/`);
      await page.fill("#name", "Ada");
      await page.keyboard.press("Enter");
      await page.locator("#text").fill("hello from below");
      await page.keyboard.press("Enter");
      await page.locator("text=hello from below").first().waitFor({ timeout: WAIT_MS_MAX });
    });
  }

  const looks = [
    ["a phone", { viewport: { width: 390, height: 844 }, colorScheme: "light" }],
    ["a dark desktop", { viewport: { width: 1440, height: 900 }, colorScheme: "dark" }],
  ];
  for (const [what, options] of looks) {
    test(`fits ${what} without a sideways scroll`, async (t) => {
      const channel = new Channel(server);
      const page = await openPage(t, channel, options);
      await type(page, `a long entry ${"without a break-".repeat(30)}`);
      await assertExact(page, 1);
      const { wide, window } = await page.evaluate(() => ({ wide: document.documentElement.scrollWidth, window: innerWidth }));
      assert.ok(wide <= window, `${wide} px in a window of ${window}`);
      const lanes = await page.$$eval(".lane-names li", (names) => names.map((name) => name.getBoundingClientRect().height));
      assert.equal(new Set(lanes).size, 1, `each name beside its lane: heights ${lanes}`);
      const cutOff = await page.$$eval("[data-wire] header .state", (states) =>
        states.filter((state) => state.scrollWidth > state.clientWidth).map((state) => state.closest("header").textContent.trim()));
      assert.deepEqual(cutOff, [], "states that are cut off");
      await page.screenshot({ path: `${REPORTS}page-${what.split(" ").at(-1)}.png`, fullPage: true });
    });
  }
});
