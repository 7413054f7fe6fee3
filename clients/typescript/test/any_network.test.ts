/**
 * Whatever the network does, each entry comes once and in order, each publication is appended once, and who is there is
 * known. Chance is drawn from a seed, which a failure names.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { WIRES, type WireName } from "../src/settings.js";
import type { Fault } from "./fake_network.js";
import { BUILDS, World } from "./world.js";

/** Enough to meet each fault in most states, in two seconds; set `SEEDS` to look longer. */
const SEEDS = Number(process.env.SEEDS ?? 12);

for (const [kind, wires] of [
  ["all wires", WIRES],
  ["a WebSocket alone", ["websocket"]],
  ["an event stream alone", ["event-stream"]],
  ["a long poll alone", ["long-poll"]],
] as [string, WireName[]][]) {
  for (const [build, connect] of BUILDS) {
    test(`over ${kind}, entries come once and in order, and publications are appended once (${build})`, async () => {
      for (let seed = 1; seed <= SEEDS; seed += 1) await live(seed, wires, new World(connect));
    });
  }
}

async function live(seed: number, wires: readonly WireName[], world: World): Promise<void> {
  const random = dice(seed);
  const pick = <T>(of: readonly T[]): T => of[Math.floor(random() * of.length)]!;
  // Drawn anew each time: were it near 0 for long, the client would come back without end.
  world.random = dice(-seed);
  world.connect({ wires, readerEntriesMax: 4 }, pick([null, 100_000]));
  // The listener takes at once; the loop is slow, and leaves and comes back.
  const there = world.subscribe("a", { offset: "-1", presence: { user: "me" } });
  const slow: unknown[] = [];
  const channel = world.line.channel("b", { offset: "-1" });
  let loop = channel[Symbol.asyncIterator]();
  let published = 0;
  let appended = 0;
  for (let turn = 0; turn < 25; turn += 1) {
    const faults: (Fault | null)[] = [
      null,
      null,
      { fault: "refuse" },
      { fault: "refuse", status: 502 },
      { fault: "swallow" },
      { fault: "swallow-up" },
      { fault: "foreign" },
      { fault: "twice" },
      { fault: "cut", bytes: Math.floor(random() * 900) },
      { fault: "delay", ms: random() * 3000 },
    ];
    const wire = pick(wires);
    const fault = pick(faults);
    if (fault) world.network.faults.set(wire, fault);
    else world.network.faults.delete(wire);
    if (random() < 0.7) world.server.append("a", (appended += 1));
    if (random() < 0.7) for (let n = 0; n < 3; n += 1) world.server.append("b", `b${(appended += 1)}`);
    if (random() < 0.5) world.publish("c", (published += 1) as never);
    if (random() < 0.1) world.server.loseReplies = 1;
    if (random() < 0.1) world.server.restart(true);
    if (random() < 0.1) world.server.drain(random() * 5000);
    if (random() < 0.1) world.wake();
    const presence = world.server.presence("a");
    const lease = pick(LEASES);
    if (random() < 0.5) presence.join(lease, lease.user, random() < 0.5);
    else presence.part(lease);
    if (random() < 0.1) presence.trim();
    if (random() < 0.5) await take(world, loop, slow, 10);
    if (random() < 0.2) {
      await loop.return?.();
      loop = channel[Symbol.asyncIterator]();
    }
    await world.advance(pick([1, 10, 1000, 30_000]));
  }
  world.network.faults.clear();
  await world.advance(300_000);
  while (await take(world, loop, slow, 10));
  const where = `seed ${seed}`;
  assert.equal(world.line.state.state, "open", where);
  assert.deepEqual(world.entries.a, world.log("a"), `${where}: entries of the listener`);
  assert.deepEqual(slow, world.log("b"), `${where}: entries of the slow loop`);
  assert.equal(world.gaps.a, 0, `${where}: gaps`);
  assert.deepEqual(world.outcomes, Array<string>(published).fill("ok"), `${where}: outcomes`);
  assert.deepEqual(
    [...world.log("c")].sort((a, b) => Number(a) - Number(b)),
    Array.from({ length: published }, (_, n) => n + 1),
    `${where}: what was appended`,
  );
  const { members } = world.server.presence("a").snapshot() as { members: { user: string; info: unknown }[] };
  const known = [...there.members.values()].map(({ user, info }) => [user, info]);
  assert.deepEqual(known.sort(), members.map(({ user, info }) => [user, info]).sort(), `${where}: members`);
  await world.end();
}

/** Sessions of others. */
const LEASES = ["ada", "ada", "bob", "eve"].map((user) => ({ user }));

/** Takes one entry, if there is one within that time; else the taker stays and gets the next. */
async function take(world: World, loop: AsyncIterator<{ data: unknown }>, into: unknown[], ms: number): Promise<boolean> {
  let took = false;
  void loop.next().then((result) => {
    took = true;
    if (!result.done) into.push(result.value.data);
  });
  await world.advance(ms);
  return took;
}

/** Numbers from 0 up to 1 that follow from the seed (mulberry32). */
function dice(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
