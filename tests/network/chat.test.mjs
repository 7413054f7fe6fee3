// The chat of examples/chat in Chromium: two people, each wire in turn, and networks that come and go.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { launch } from "../clients/browser.mjs";
import { startServer } from "../server.mjs";
import { FaultProxy } from "./fault-proxy.mjs";

const WIRES = ["websocket", "event-stream", "ndjson", "long-poll"];
const REPORTS = fileURLToPath(new URL("../../target/reports/", import.meta.url));
const WAIT_MS_MAX = 20_000;
/** Well below the 30 s after which the server misses who polls no more. */
const LEAVE_MS_MAX = 10_000;

let server, browser;
before(async () => {
  mkdirSync(REPORTS, { recursive: true });
  server = await startServer({ config: "[http]\nheartbeat_ms = 1000\n" });
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Somebody with a browser of their own, behind a network of their own. */
class Person {
  static async join(t, name, { wire, room, ...options } = {}) {
    const person = new Person();
    person.name = name;
    person.proxy = await FaultProxy.to(server.host);
    const profile = await browser.newContext({ viewport: { width: 1000, height: 640 }, ...options });
    t.after(async () => {
      await profile.close();
      await person.proxy.stop();
      assert.deepEqual(person.errors, [], `what ${name}'s page complained of`);
    });
    person.page = await profile.newPage();
    person.errors = [];
    person.page.on("pageerror", (error) => person.errors.push(error.stack));
    person.devtools = await profile.newCDPSession(person.page);
    await person.page.goto(`${person.proxy.url}/examples/chat/${wire ? `?wire=${wire}` : ""}`);
    await person.page.fill("#name", name);
    await person.page.keyboard.press("Enter");
    await person.isOnline();
    return person;
  }

  async say(...texts) {
    for (const text of texts) {
      await this.page.fill("#text", text);
      await this.page.keyboard.press("Enter");
    }
  }

  /** Waits until what is said ends with `texts`, and gives all of it. */
  async hears(texts) {
    const ends = ([selector, texts]) => {
      const said = [...document.querySelectorAll(selector)].map((item) => item.textContent);
      return JSON.stringify(said.slice(-texts.length)) === JSON.stringify(texts);
    };
    await this.#until(`${this.name} to hear ${texts}`, ends, ["#messages p", texts]);
    return this.page.$$eval("#messages p", (items) => items.map((item) => item.textContent));
  }

  isOnline() {
    return this.sees("#line", "connected over");
  }

  sees(selector, text) {
    const holds = ([selector, text]) => document.querySelector(selector).textContent.includes(text);
    return this.#until(`${this.name} to see ${text} in ${selector}`, holds, [selector, text]);
  }

  /** Soon after the last message, or at the latest when nobody has typed for a while. */
  seesNobodyType() {
    const holds = () => document.querySelector("#typing").textContent === "";
    return this.#until(`${this.name} to see nobody type`, holds);
  }

  /** The browser has no network, and what was open is cut. */
  async loseNetwork() {
    await this.#emulate(true);
    this.proxy.do({ do: "server", up: false });
    this.proxy.do({ do: "cut" });
  }

  async findNetwork() {
    this.proxy.do({ do: "server", up: true });
    await this.#emulate(false);
  }

  #emulate(offline) {
    return this.devtools.send("Network.emulateNetworkConditions", { offline, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
  }

  /** A browser freezes a page that nobody has looked at for minutes: its timers stop, and its connections may end. */
  async sleep() {
    await this.devtools.send("Page.setWebLifecycleState", { state: "frozen" });
    this.proxy.do({ do: "cut" });
  }

  wakeUp() {
    return this.devtools.send("Page.setWebLifecycleState", { state: "active" });
  }

  async #until(what, holds, argument) {
    await this.page.waitForFunction(holds, argument, { timeout: WAIT_MS_MAX, polling: 20 }).catch(async (error) => {
      throw new Error(`waited for ${what}: ${error.message}\n${await this.page.innerText("body")}`);
    });
  }
}

/** So that no test meets another: two that nobody knows yet, and what was said before they greeted each other. */
let pairs = 0;
async function twoPeople(t, options = {}) {
  pairs += 1;
  const greeting = `greeting ${pairs}`;
  const [ada, ben] = [await Person.join(t, `Ada ${pairs}`, options), await Person.join(t, `Ben ${pairs}`, options)];
  await ada.say(greeting);
  for (const person of [ada, ben]) await person.hears([greeting]);
  /** Both have heard `texts` since the greeting, and nothing else, nor anything twice. */
  const bothHear = async (...texts) => {
    for (const person of [ada, ben]) {
      const said = await person.hears(texts);
      assert.deepEqual(said.slice(said.lastIndexOf(greeting) + 1), texts, `what ${person.name} heard`);
      assert.equal(await person.page.locator("#waiting li").count(), 0, `what ${person.name} still waits to say`);
    }
  };
  return { ada, ben, bothHear };
}

for (const wire of WIRES) {
  describe(`over ${wire}`, () => {
    test("two people see each other, talk, and hear the other type", async (t) => {
      const { ada, ben, bothHear } = await twoPeople(t, { wire });
      for (const person of [ada, ben]) for (const { name } of [ada, ben]) await person.sees("#here", name);
      const texts = Array.from({ length: 10 }, (_, turn) => `turn ${turn}`);
      for (const [turn, text] of texts.entries()) {
        await (turn % 2 ? ben : ada).say(text);
        await ada.hears([text]);
      }
      await bothHear(...texts);
      await ben.page.locator("#text").pressSequentially("wait");
      await ada.sees("#typing", `${ben.name} is typing`);
      // Typing is told in a channel of its own, so what Ada typed before may still show.
      assert.doesNotMatch(await ben.page.textContent("#typing"), new RegExp(ben.name), "one's own typing is no news");
      await ben.say("enough");
      await bothHear(...texts, "enough");
      await ada.seesNobodyType();
    });

    test("a network that was lost costs nothing, and what one said meanwhile is said once", async (t) => {
      const { ada, ben, bothHear } = await twoPeople(t, { wire });
      await ada.loseNetwork();
      await ada.sees("#line", "offline");
      await ben.say("one", "two");
      await ben.hears(["one", "two"]);
      await ada.say("three", "four");
      assert.equal(await ada.page.locator("#waiting li").count(), 2);
      if (wire === WIRES[0]) await ada.page.screenshot({ path: `${REPORTS}chat-offline.png` });
      await ada.findNetwork();
      await bothHear("one", "two", "three", "four");
      await ada.isOnline();
    });

    test("a page that slept catches up", async (t) => {
      const { ada, ben, bothHear } = await twoPeople(t, { wire });
      await ada.sleep();
      await ben.say("one", "two", "three");
      await ben.hears(["one", "two", "three"]);
      await ada.wakeUp();
      await bothHear("one", "two", "three");
      await ada.say("four");
      await bothHear("one", "two", "three", "four");
    });
  });
}

test("a network that swallows WebSockets is noticed by the page itself", async (t) => {
  const { ada, ben, bothHear } = await twoPeople(t);
  await ada.sees("#line", "WebSocket");
  ada.proxy.do({ do: "network", wire: "websocket", fault: "swallow" });
  await ben.say("one", "two");
  await ada.sees("#line", "stream");
  await bothHear("one", "two");
});

test("one who leaves the room or the page is there no more", async (t) => {
  // Nothing tells the server of the end of a long poll but the page.
  const { ada, ben } = await twoPeople(t, { wire: "long-poll" });
  const isGone = () => ben.page.waitForFunction((name) => !document.querySelector("#here").textContent.includes(name), ada.name, { timeout: LEAVE_MS_MAX });
  await ben.sees("#here", ada.name);
  await ada.page.getByRole("button", { name: "Garden" }).click();
  await isGone();
  await ben.page.getByRole("button", { name: "Garden" }).click();
  await ben.sees("#here", ada.name);
  await ada.page.goto("about:blank");
  await isGone();
});

test("what others publish is shown as what it is, or not at all", async (t) => {
  const { ada, bothHear } = await twoPeople(t);
  const publish = (channel, data) =>
    fetch(`http://${server.host}/channels/${channel}`, { method: "POST", headers: { "content-type": "application/json" }, body: `[${JSON.stringify(data)}]` });
  const strange = [null, 7, "text", [], {}, { from: 7, text: "x" }, { from: "", text: "x" }, { from: "Eve" }, { from: "Eve", text: {} }, { notice: "You are signed out." }];
  for (const data of strange) for (const channel of ["chat/lobby", "chat/lobby/here"]) assert.equal((await publish(channel, data)).status, 204);
  const script = "<img src=x onerror=document.title='taken'>";
  await publish("chat/lobby", { from: script, text: script, notice: "You are signed out.", failed: true });
  await ada.say("one");
  await bothHear(script, "one");
  assert.equal(await ada.page.locator("#messages img, #messages .notice").count(), 0);
  assert.notEqual(await ada.page.title(), "taken");
});

test("a keyboard is enough", async (t) => {
  const { ada, ben } = await twoPeople(t);
  const focused = () => ada.page.evaluate(() => document.activeElement.textContent || document.activeElement.id);
  assert.equal(await focused(), "text", "one can type at once");
  while ((await focused()) !== "Garden") await ada.page.keyboard.press("Shift+Tab");
  await ada.page.keyboard.press("Enter");
  assert.equal(await focused(), "text");
  await ada.page.keyboard.type("Who waters the roses?");
  await ada.page.keyboard.press("Enter");
  await ada.hears(["Who waters the roses?"]);
  await ben.page.getByLabel("1 new").waitFor();
});

for (const [what, options] of [
  ["phone", { viewport: { width: 390, height: 700 }, colorScheme: "light" }],
  ["dark-desktop", { viewport: { width: 1000, height: 640 }, colorScheme: "dark" }],
]) {
  test(`it fits a ${what} without a sideways scroll`, async (t) => {
    const { ada, ben } = await twoPeople(t, options);
    await ben.say("a word without a break: " + "x".repeat(300));
    await ada.hears(["a word without a break: " + "x".repeat(300)]);
    const { wide, window } = await ada.page.evaluate(() => ({ wide: document.documentElement.scrollWidth, window: innerWidth }));
    assert.ok(wide <= window, `${wide} px in a window of ${window}`);
    await ada.page.screenshot({ path: `${REPORTS}chat-${what}.png` });
  });
}

test("the client that the binary carries is the client of this tree", () => {
  const [built, carried] = ["clients/typescript/dist/index.js", "examples/chat/everwire.js"].map((path) =>
    readFileSync(new URL(`../../${path}`, import.meta.url), "utf8"),
  );
  assert.ok(built.replace(/^\/\/# sourceMappingURL=.*\n/m, "") === carried, "examples/chat/everwire.js is old; run `make client`");
});
