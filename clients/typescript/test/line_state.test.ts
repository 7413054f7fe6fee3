/** Rules of a line that need its state to be seen, and not only what its user sees. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { initial, type LineEvent, type LineState, step, wakeAt } from "../src/line_state.js";
import { environmentOf, withDefaults } from "../src/settings.js";
import { World } from "./world.js";

const settings = withDefaults({ wires: ["ndjson"] }, environmentOf());

function after(events: readonly (readonly [now: number, event: LineEvent])[]): LineState {
  let state = initial("ndjson", false, settings.returnMs);
  for (const [now, event] of events) [state] = step(state, event, { now, roll: 0.5, settings });
  return state;
}

test("a wire has more time to prove itself after each failed attempt, up to four times as much", () => {
  const granted: number[] = [];
  let state = after([[0, { type: "start" }]]);
  for (let attempt = 0; attempt < 6; attempt += 1) {
    const opened = state.state === "connecting" ? (wakeAt(state) ?? 0) : 0;
    [state] = step(state, { type: "tick" }, { now: opened, roll: 0.5, settings });
    const retryAt = wakeAt(state) ?? 0;
    [state] = step(state, { type: "tick" }, { now: retryAt, roll: 0.5, settings });
    granted.push((wakeAt(state) ?? 0) - retryAt);
  }
  assert.deepEqual(granted, [10_000, 15_000, 20_000, 20_000, 20_000, 20_000]);
});

test("a line that keeps being cut soon after it opened is come back to more and more slowly", () => {
  let state = after([[0, { type: "start" }]]);
  const waits: number[] = [];
  let now = 0;
  for (let serial = 1; serial <= 4; serial += 1) {
    [state] = step(state, { type: "welcome", serial, heartbeatMs: null }, { now, roll: 0.5, settings });
    [state] = step(state, { type: "ended", serial, ending: { kind: "cut" } }, { now, roll: 0.5, settings });
    waits.push((wakeAt(state) ?? 0) - now);
    now = wakeAt(state) ?? 0;
    [state] = step(state, { type: "tick" }, { now, roll: 0.5, settings });
  }
  assert.deepEqual(waits, [500, 1_000, 2_000, 4_000]);
});

test("what a wire says after it was given up changes nothing", () => {
  const open = after([
    [0, { type: "start" }],
    [1, { type: "welcome", serial: 1, heartbeatMs: null }],
  ]);
  for (const event of [
    { type: "heard", serial: 9 },
    { type: "answered", serial: 9, more: false },
    { type: "drain", serial: 9, afterMs: 1 },
    { type: "ended", serial: 9, ending: { kind: "cut" } },
  ] as const) {
    assert.equal(step(open, event, { now: 2, roll: 0.5, settings })[0], open, event.type);
  }
});

test("nothing brings a closed line back", () => {
  const closed = after([
    [0, { type: "start" }],
    [1, { type: "close" }],
  ]);
  for (const type of ["start", "tick", "wake", "renew"] as const) {
    assert.deepEqual(step(closed, { type }, { now: 2, roll: 0.5, settings }), [closed, []], type);
  }
  assert.equal(wakeAt(closed), null);
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
