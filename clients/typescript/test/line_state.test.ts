/** Rules of a line that need its state to be seen, and not only what its user sees. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CUT } from "../src/ending.js";
import { LineLife } from "../src/line_state.js";
import { environmentOf, withDefaults } from "../src/settings.js";
import type { Wire } from "../src/wire.js";
import { World } from "./world.js";

/** A life over one wire, of which the shell only remembers what was opened. */
class Lonely {
  now = 0;
  readonly opened: Wire[] = [];
  readonly life = new LineLife(
    {
      settings: withDefaults({ wires: ["ndjson"] }, environmentOf()),
      now: () => this.now,
      random: () => 0.5,
      open: () => {
        const wire = { send() {}, close() {} };
        this.opened.push(wire);
        return wire;
      },
      ping() {},
      fetchToken() {},
      authenticate() {},
      suspend() {},
      resume() {},
      finish() {},
    },
    "ndjson",
    false,
  );

  constructor() {
    this.life.handle({ type: "start" });
  }

  get wire(): Wire {
    return this.opened.at(-1)!;
  }

  /** Lets time pass until the life wants to be woken, and wakes it; returns how long that was. */
  tick(): number {
    const before = this.now;
    this.now = this.life.wakeAt;
    this.life.handle({ type: "tick" });
    return this.now - before;
  }

  welcome(): void {
    this.life.handle({ type: "welcome", from: this.wire, heartbeatMs: 20_000 });
  }

  cut(): void {
    this.life.handle({ type: "ended", from: this.wire, ending: CUT });
  }
}

test("a wire has more time to prove itself after each failed attempt, up to four times as much", () => {
  const line = new Lonely();
  const granted: number[] = [];
  for (let attempt = 0; attempt < 6; attempt += 1) {
    granted.push(line.tick());
    line.tick();
  }
  assert.deepEqual(granted, [5_000, 10_000, 15_000, 20_000, 20_000, 20_000]);
});

test("a line that keeps being cut soon after it opened is come back to more and more slowly", () => {
  const line = new Lonely();
  const waits: number[] = [];
  for (let attempt = 0; attempt < 4; attempt += 1) {
    line.welcome();
    line.cut();
    waits.push(line.tick());
  }
  assert.deepEqual(waits, [500, 1_000, 2_000, 4_000]);
});

test("a line that is idle is asked for a sign of life once the heartbeat is late, and given up after two", () => {
  const line = new Lonely();
  line.welcome();
  assert.deepEqual([line.tick(), line.life.state.state], [30_000, "open"]);
  assert.deepEqual([line.tick(), line.life.state.state], [10_000, "waiting"]);
});

test("what a wire says after it was given up changes nothing", () => {
  const line = new Lonely();
  const from = line.wire;
  line.cut();
  line.tick();
  line.welcome();
  const before = JSON.stringify(line.life.state);
  line.now += 1;
  for (const event of [
    { type: "welcome", from, heartbeatMs: 1 },
    { type: "heard", from },
    { type: "answered", from, more: false },
    { type: "drain", from, afterMs: 1 },
    { type: "ended", from, ending: CUT },
  ] as const) {
    line.life.handle(event);
    assert.equal(JSON.stringify(line.life.state), before, event.type);
  }
});

test("nothing brings a closed line back", () => {
  const line = new Lonely();
  line.life.handle({ type: "close" });
  for (const type of ["start", "tick", "wake"] as const) {
    line.life.handle({ type });
    assert.deepEqual([line.life.state, line.opened.length], [{ state: "closed", error: null }, 1], type);
  }
  assert.equal(line.life.wakeAt, Infinity);
});

test("a line without channels is proven too, so that a wire on which nothing goes up is left", async () => {
  const world = new World();
  world.network.faults.set("websocket", { fault: "swallow-up" });
  world.connect();
  await world.advance(5_020);
  assert.deepEqual(world.wires, ["websocket", "event-stream"]);
});

test("over HTTP commands keep their order, one request at a time, however slow it is", async () => {
  const world = new World();
  world.connect({ wires: ["event-stream"] });
  await world.advance(1);
  const wanted = [1, 2, 3, 4, 5];
  for (const n of wanted) {
    world.network.faults.set("event-stream", { fault: "delay", ms: 500 - 100 * n });
    world.publish("a", n as never);
    await world.advance(1);
  }
  await world.advance(3_000);
  assert.deepEqual(world.log("a"), wanted);
});

test("a request that a browser sends twice, as it does after a reset, does no harm", async () => {
  const world = new World();
  for (const n of [1, 2]) world.server.append("a", n);
  world.network.faults.set("ndjson", { fault: "twice" });
  world.connect({ wires: ["ndjson"] });
  world.subscribe("a", { offset: "-1", presence: { user: "me" } });
  world.publish("a", "mine" as never);
  await world.advance(10);
  world.unsubscribe("a");
  await world.advance(10);
  world.server.append("a", 3);
  world.subscribe("a");
  await world.advance(10);
  assert.deepEqual([world.entries.a, world.log("a"), world.network.attempts.length], [[1, 2, "mine", 3], [1, 2, "mine", 3], 1]);
  assert.deepEqual([...world.line.channel("a").members.keys()], ["~me"]);
});

test("publications that waited go out in pieces, all of them, in order", async () => {
  const world = new World();
  world.server.up = false;
  world.connect();
  const wanted = Array.from({ length: 300 }, (_, n) => n);
  for (const n of wanted) world.publish("a", n as never);
  world.server.up = true;
  let most = 0;
  world.network.faults.set("websocket", { fault: "delay", ms: 100 });
  for (let turn = 0; turn < 60; turn += 1) {
    const before = world.log("a").length;
    await world.advance(100);
    most = Math.max(most, world.log("a").length - before);
  }
  assert.deepEqual(world.log("a"), wanted);
  assert.ok(most <= 64, `${most} at once`);
});

test("times that are none do not keep a line from going on", async () => {
  const world = new World();
  world.connect();
  await world.advance(1);
  const [session] = world.server.sessions.values();
  session!.sink.message({ ev: "welcome", heartbeat_ms: "often" });
  session!.sink.message({ ev: "drain", after_ms: "soon" });
  await world.advance(60_000);
  assert.deepEqual(world.wires, ["websocket", "websocket"]);
  assert.equal(world.line.state.state, "open");
});
