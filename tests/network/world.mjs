// One scenario of testdata/client-scenarios.json in the real world:
//
//     client ── sockets ──▶ fault proxy ── sockets ──▶ everwire serve
//
// The table's times are divided by `scale`, at most `SCALE`, which makes the server's shortest heartbeat of a second more
// than fit. Real time is not exact, so an expectation holds if all that it names was true at one moment between shortly before the
// time that the table says, and `LATE_MS` after it; and what was seen must not have changed a little after the end.

import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import { FaultProxy } from "./fault-proxy.mjs";
import { ISSUER_CONFIG, Issuer } from "./issuer.mjs";

/** So many milliseconds of the table are one here. */
export const SCALE = 10;
/** By the table's clock this is enough for all messages to go round, where nothing is wrong with the network. */
const MOMENT_MS = 10;
/** Where a network is slow, but fast enough by the table, a tenth of that time would be a slow machine's as well. */
const SCALE_OF_DELAYS = 1;

/** The heartbeat of the table's server. */
const HEARTBEAT_MS = 20_000;

/** So much longer than with the table's server is a real welcome, with the frame or chunk around it. */
const WELCOME_BYTES = 60;

/** What a server needs for the table: `trim` is retention that is short from the start. */
export const CONFIG = `
[http]
heartbeat_ms = ${HEARTBEAT_MS / SCALE}
[channels]
anonymous = ["read", "publish"]
[[rules]]
match = "trimmed/**"
retain_entries = 1
[[rules]]
match = "paced/**"
appends_per_caller_max = 1
[[rules]]
match = "secret/**"
anonymous = []
[limits]
appends_per_second_max = 0
${ISSUER_CONFIG}`;

/** Which channels a scenario needs that has such a step. */
const RULES = [
  ["trim", "trimmed/"],
  ["refuse_publications", "paced/"],
];

/** In the words of a server where nobody has shown a credential. */
const SAID_HERE = { forbidden: "unauthorized" };

/** How long before its time something may already be over. */
const EARLY_MS = 100;
/** How long after its time something may come: a busy machine is slow, and what never comes is never seen. */
const LATE_MS = 10_000;
/** The network rests when all is answered and nothing passed for so long; waiting for it ends after the second time. */
const REST_MS = 100;
const REST_MS_MAX = 3_000;

export class World {
  #client;
  #server;
  #proxy;
  #prefix;
  #issuer = new Issuer();
  #scale;
  /** Channels that are to be read from now on, of which it is not known yet that they are. */
  #awaited = new Set();
  /** What the user has seen, and when, oldest first. */
  #history = [];
  /** When the last step took place that was not only waiting. */
  #actedAt = 0;
  /** The time that the table says it is. */
  #now = performance.now();

  /** `Client` is a class such as `TypeScriptClient`; no other scenario on this server has this `number`. */
  static async create({ Client, server, number, steps, scale = SCALE }) {
    const world = new World();
    world.#server = server;
    world.#proxy = await FaultProxy.to(server.host);
    // No channel is that of another scenario. Short, since the table counts bytes.
    const rule = RULES.find(([what]) => steps.some((step) => step.do === what))?.[1] ?? "";
    world.#prefix = `${rule}${number}/`;
    world.#scale = steps.some((step) => step.fault === "delay") ? SCALE_OF_DELAYS : SCALE;
    world.#scale = steps.some((step) => step.fault === "delay") ? SCALE_OF_DELAYS : scale;
    world.#client = new Client(() => world.#record());
    return world;
  }

  /** Carries out one step. */
  async take(step) {
    const { do: what, ...members } = step;
    if (what === "advance") {
      await this.#advance(members.ms / this.#scale);
      if (members.ms === MOMENT_MS) await this.#arrived();
      return;
    }
    // By the table's clock all else takes no time.
    const began = performance.now();
    if (what === "expect") await this.#expect(members);
    else await this.#act(what, members);
    this.#now += performance.now() - began;
    if (what === "expect") return;
    this.#actedAt = performance.now();
    this.#record();
  }

  /** Nothing that was seen may come twice, so a little later it must be what it was. */
  async settle(steps) {
    const last = steps.findLast((step) => step.do === "expect");
    await pass(2 * REST_MS);
    const { do: _, state: __, wire: ___, attempts: ____, ...members } = last;
    await this.#expect(members, 0);
  }

  async close() {
    this.#client.close();
    await this.#proxy.stop();
  }

  async #act(what, members) {
    switch (what) {
      case "connect":
        return this.#client.connect(this.#proxy.url, members.options ?? {}, this.#scale, this.#tokens(members.token_ms));
      case "revoke_tokens":
        return this.#issuer.revoke(this.#server.url);
      case "subscribe":
        // A channel that nobody may read is never made.
        if (!members.channel.startsWith("secret/")) this.#awaited.add(members.channel);
        return this.#client.subscribe(this.#inside(members.channel), members.offset === undefined ? {} : { offset: members.offset });
      case "unsubscribe":
        return this.#client.unsubscribe(this.#inside(members.channel));
      case "publish":
        return this.#client.publish(this.#inside(members.channel), members.data);
      case "append":
        return this.#append(members);
      case "restart":
        return this.#restart(members.keep_logs);
      case "trim":
        return assert.equal(members.keep, 1, "retention is set to one entry");
      case "refuse_publications":
        return this.#useUpPace("a");
      case "close_channel":
        return this.#post(members.channel, { headers: { "stream-closed": "true" } });
      case "wake":
        return this.#client.wake();
      case "network": {
        const scaled = { ...members };
        for (const time of ["ms", "retry_after_s"]) if (time in members) scaled[time] /= this.#scale;
        if ("bytes" in members) scaled.bytes += WELCOME_BYTES;
        return this.#proxy.do({ do: what, ...scaled });
      }
      case "server":
      case "lose_replies":
      case "close_lines":
        return this.#proxy.do({ do: what, ...members });
      default:
        assert.fail(`nothing carries out ${what}`);
    }
  }

  /**
   * Waits until the line is open, or closed, and the channels are read, which makes them where there are none: what
   * befalls line or channel next must not come before that.
   */
  async #arrived() {
    const until = performance.now() + LATE_MS;
    const wait = async (holds) => {
      while (!(await holds()) && performance.now() < until) await pass(10);
    };
    await wait(() => ["open", "closed"].includes(this.#client.seen.state));
    for (const channel of this.#awaited) await wait(() => this.#exists(channel));
    this.#awaited.clear();
    this.#now = Math.max(this.#now, performance.now());
  }

  /** Who gives tokens that live so long by the table's clock, if they are wanted. */
  #tokens(ms) {
    return ms === undefined ? undefined : () => this.#issuer.token(ms / this.#scale);
  }

  async #exists(channel) {
    const answer = await fetch(`${this.#server.url}/channels/${this.#inside(channel)}`, { method: "HEAD" });
    return answer.ok;
  }

  /** Steps take no time, so nobody gets through before time passes again. */
  async #restart(keepsLogs) {
    this.#proxy.do({ do: "pause" });
    if (!keepsLogs) await this.#server.restart();
    this.#proxy.do({ do: "cut" });
  }

  async #append({ channel, data }) {
    const headers = { "content-type": "application/json" };
    await this.#post(channel, { headers, body: JSON.stringify(data) });
  }

  /** Has the server refuse what comes next on a channel: with as many attempts as its rule has, which append nothing. */
  async #useUpPace(channel) {
    const url = `${this.#server.url}/channels/${this.#inside(channel)}`;
    const attempt = { method: "POST", headers: { "content-type": "application/json" }, body: "no JSON" };
    while ((await fetch(url, attempt)).status !== 429);
  }

  async #post(channel, request) {
    const answer = await fetch(`${this.#server.url}/channels/${this.#inside(channel)}`, { method: "POST", ...request });
    assert.equal(answer.status, 204, await answer.text());
  }

  async #log(channel) {
    const answer = await fetch(`${this.#server.url}/channels/${this.#inside(channel)}`);
    return answer.json();
  }

  async #advance(ms) {
    this.#proxy.do({ do: "resume" });
    this.#now += ms;
    await pass(Math.max(0, this.#now - performance.now()));
    // A table's step that only lets messages go round is shorter than real ones need.
    const reached = performance.now();
    const rests = () => performance.now() > Math.max(reached, this.#proxy.passedAt) + REST_MS && !this.#proxy.awaits();
    while (!rests() && performance.now() < reached + REST_MS_MAX) await pass(REST_MS / 4);
  }

  async #expect({ log = {}, ...members }, lateMs = LATE_MS) {
    const from = lateMs === 0 ? performance.now() : Math.max(this.#actedAt, this.#now - EARLY_MS);
    const until = performance.now() + lateMs;
    const expected = Object.entries(members).map(([what, value]) => [what, this.#insideAll(what, value)]);
    const holds = (seen) => expected.every(([what, value]) => isDeepStrictEqual(partOf(seen[what], value), value));
    // What was seen holds until the next is seen.
    const since = (index) => this.#history[index + 1]?.at ?? Infinity;
    while (!this.#history.some(({ seen }, index) => since(index) > from && holds(seen))) {
      if (performance.now() > until) {
        const { seen } = this.#history.at(-1);
        for (const [what, value] of expected) assert.deepEqual(partOf(seen[what], value), value, what);
        assert.fail("each came, but not all at one time");
      }
      await pass(10);
    }
    for (const [channel, wanted] of Object.entries(log)) {
      while (!isDeepStrictEqual(await this.#log(channel), wanted)) {
        if (performance.now() > until) assert.deepEqual(await this.#log(channel), wanted, `the log of ${channel}`);
        await pass(10);
      }
    }
  }

  #record() {
    const seen = structuredClone({ ...this.#client.seen, attempts: this.#proxy.do({ do: "attempts" }).length });
    this.#history.push({ at: performance.now(), seen });
  }

  #inside(channel) {
    return channel.startsWith("secret/") ? channel : this.#prefix + channel;
  }

  #insideAll(what, value) {
    if (!["entries", "gaps", "ended"].includes(what)) return value;
    return Object.fromEntries(Object.entries(value).map(([channel, wanted]) => [this.#inside(channel), SAID_HERE[wanted] ?? wanted]));
  }
}

/** Of an object, the members that `wanted` has; else all of it. */
function partOf(seen, wanted) {
  if (Array.isArray(wanted) || typeof wanted !== "object") return seen;
  return Object.fromEntries(Object.keys(wanted).map((name) => [name, seen[name]]));
}

function pass(ms) {
  return new Promise((passed) => setTimeout(passed, ms));
}
