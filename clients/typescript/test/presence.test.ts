/** Who is there: kept current over snapshots, changes, reconnections and gaps. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { ChannelOptions } from "../src/channel.js";
import type { ChangeMessage } from "../src/message.js";
import { Presence } from "../src/presence.js";
import { WIRES } from "../src/settings.js";
import { World } from "./world.js";

const join = (offset: string, user: string, info?: string): ChangeMessage => ({ ev: "join", channel: "a", offset, user, ...(info && { info }) });
const leave = (offset: string, user: string): ChangeMessage => ({ ev: "leave", channel: "a", offset, user });
const snapshot = (offset: string, ...users: string[]) => ({ offset, members: users.map((user) => ({ user, count: 1 })) });

const CASES: readonly [name: string, before: readonly ChangeMessage[], answer: object, after: readonly ChangeMessage[], members: string[]][] = [
  ["a snapshot is who is there", [], snapshot("4", "ada", "bob"), [], ["ada", "bob"]],
  ["changes follow it", [], snapshot("4", "ada"), [join("5", "bob"), leave("6", "ada")], ["bob"]],
  ["changes that came before it and are newer follow it too", [join("5", "bob")], snapshot("4", "ada"), [], ["ada", "bob"]],
  ["changes that came before it and are older are part of it", [leave("3", "ada"), join("4", "bob")], snapshot("4", "ada"), [], ["ada"]],
  ["a change that comes twice is one", [], snapshot("4"), [join("5", "bob"), leave("6", "bob"), join("5", "bob")], []],
  ["an answer without members goes on with what is known", [join("6", "bob")], { offset: "3" }, [], ["old", "bob"]],
];

for (const [name, before, answer, after, members] of CASES) {
  test(name, () => {
    const presence = new Presence();
    presence.answer(snapshot("3", "old"));
    presence.await();
    for (const change of before) assert.equal(presence.change(change), null, "it waits for the answer");
    for (const change of [...presence.answer(answer), ...after]) presence.change(change);
    assert.deepEqual([...presence.members.keys()], members);
  });
}

test("who comes with other info replaces what was known, and who leaves is told with it", () => {
  const presence = new Presence();
  presence.change(join("1", "ada", "at work"));
  assert.deepEqual(presence.change(join("2", "ada", "away")), { user: "ada", info: "away" });
  assert.deepEqual(presence.change(leave("3", "ada")), { user: "ada", info: "away" });
  assert.equal(presence.members.size, 0);
});

async function present(options: ChannelOptions, connect = {}): Promise<{ world: World; told: unknown[] }> {
  const world = new World();
  world.connect(connect);
  const channel = world.line.channel("lobby", options);
  const told: unknown[] = [];
  channel.on("presence", (members) => told.push([...members.keys()]));
  channel.on("join", ({ user, info }) => told.push(info === undefined ? `+${user}` : `+${user}: ${JSON.stringify(info)}`));
  channel.on("leave", ({ user }) => told.push(`-${user}`));
  await world.advance(10);
  return { world, told };
}

for (const wire of WIRES) {
  test(`over ${wire}, members are told at first, and then who comes and leaves`, async () => {
    const { world, told } = await present({ presence: { user: "me", info: 1 } }, { wires: [wire] });
    const bob = {};
    world.server.presence("lobby").join(bob, "bob", { name: "Bob" });
    await world.advance(10);
    world.server.presence("lobby").part(bob);
    await world.advance(3_010);
    assert.deepEqual(told, [["~me"], '+bob: {"name":"Bob"}', ["~me", "bob"], "-bob", ["~me"]]);
    assert.deepEqual([...world.line.channel("lobby").members.values()], [{ user: "~me", info: 1 }]);
  });
}

test("what happened while the line was down is told as changes, and being down for a moment is none", async () => {
  const { world, told } = await present({ presence: { user: "me" } });
  const { server } = world;
  server.up = false;
  server.restart(true);
  server.presence("lobby").join({}, "bob");
  server.up = true;
  await world.advance(2_000);
  assert.deepEqual(told, [["~me"], "+bob", ["~me", "bob"]]);
});

test("changes that cannot be had any more lead to a fresh snapshot", async () => {
  for (const during of ["a live line", "a reconnection"]) {
    const { world, told } = await present({ presence: { user: "me" } });
    const presence = world.server.presence("lobby");
    if (during === "a reconnection") world.server.restart(true);
    presence.join({}, "bob");
    presence.trim();
    await world.advance(2_000);
    assert.deepEqual(told.at(-1), ["~me", "bob"], during);
    presence.join({}, "eve");
    await world.advance(10);
    assert.deepEqual(told.slice(-2), ["+eve", ["~me", "bob", "eve"]], during);
  }
});

test("a server that forgot everything is asked who is there now", async () => {
  const { world, told } = await present({ presence: { user: "me" } });
  world.server.presence("lobby").join({}, "bob");
  await world.advance(10);
  world.server.restart(false);
  await world.advance(2_000);
  assert.deepEqual(told.at(-1), ["~me"]);
});

test("a watcher is no member, and a channel without the option knows nobody", async () => {
  const { world, told } = await present({ presence: { join: false } });
  assert.deepEqual(told, [[]]);
  const other = await present({});
  other.world.server.presence("lobby").join({}, "bob");
  await other.world.advance(10);
  assert.deepEqual(other.told, []);
  world.server.presence("lobby").join({}, "bob");
  const asked = world.line.channel("elsewhere").who();
  world.server.presence("elsewhere").join({}, "eve");
  world.server.presence("elsewhere").join({}, "eve");
  await world.advance(10);
  assert.deepEqual(await asked, { total: 1, members: [{ user: "eve", count: 2 }] });
});

test("who stops reading is there no more", async () => {
  const { world } = await present({ presence: true });
  world.subscribe("other", { presence: { user: "me" } });
  await world.advance(10);
  const users = () => (world.server.presence("other").snapshot().members as { user: string }[]).map(({ user }) => user);
  assert.deepEqual(users(), ["~me"]);
  world.unsubscribe("other");
  await world.advance(3_010);
  assert.deepEqual(users(), []);
});
