/** Runs the table of scenarios: what the network does, and what the user of a client sees. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { WIRES, type WireName } from "../src/settings.js";
import type { Fault } from "./fake_network.js";
import { BUILDS, World } from "./world.js";

interface Step {
  readonly do: string;
  readonly channel: string;
  readonly data: never;
  readonly ms: number;
  readonly [name: string]: unknown;
}

interface Table {
  readonly steps: Record<string, string>;
  readonly scenarios: readonly { readonly name: string; readonly steps: readonly Step[] }[];
}

const TABLE = new URL("../../../../testdata/client-scenarios.json", import.meta.url);
const table = JSON.parse(readFileSync(TABLE, "utf8")) as Table;

for (const [build, connect] of BUILDS) {
  for (const { name, steps } of table.scenarios) {
    test(`${name} (${build})`, async () => {
      const world = new World(connect);
      for (const [at, step] of steps.entries()) {
        assert.ok(step.do in table.steps, `step ${at} is described at the head of the table: ${step.do}`);
        await carryOut(world, step, `step ${at}`);
      }
      await world.end();
    });
  }
}

async function carryOut(world: World, step: Step, where: string): Promise<void> {
  switch (step.do) {
    case "connect":
      world.connect((step.options ?? {}) as object, (step.token_ms as number | undefined) ?? null);
      return;
    case "subscribe":
      world.subscribe(step.channel, step.offset === undefined ? {} : { offset: String(step.offset) });
      return;
    case "unsubscribe":
      return world.unsubscribe(step.channel);
    case "publish":
      return world.publish(step.channel, step.data);
    case "append":
      for (const data of step.data as unknown[]) world.server.append(step.channel, data);
      return;
    case "network":
      for (const wire of step.wire === "*" ? WIRES : [step.wire as WireName]) {
        if (step.fault === "none") world.network.faults.delete(wire);
        else world.network.faults.set(wire, step as unknown as Fault);
      }
      return;
    case "server":
      world.server.up = step.up === true;
      return;
    case "restart":
      return world.server.restart(step.keep_logs === true);
    case "trim":
      return world.server.trim(step.channel, step.keep as number);
    case "drain":
      return world.server.drain(step.after_ms as number);
    case "close_lines":
      for (const session of [...world.server.sessions.values()]) session.end(step.code as number, "");
      return;
    case "close_channel":
      return world.server.closeChannel(step.channel);
    case "refuse_publications":
      world.server.refusePublications = step.count as number;
      return;
    case "lose_replies":
      world.server.loseReplies = step.count as number;
      return;
    case "revoke_tokens":
      world.server.tokensFrom = world.clock.now + 1;
      return;
    case "wake":
      return world.wake();
    case "advance":
      return world.advance(step.ms);
    case "expect": {
      const { do: _, ...expected } = step;
      for (const [what, value] of Object.entries(expected)) {
        for (const [part, seen, wanted] of seenOf(world, what, value)) assert.deepEqual(seen, wanted, `${where}: ${part}`);
      }
      return;
    }
    default:
      assert.fail(`${where}: nothing carries out ${step.do}`);
  }
}

function seenOf(world: World, what: string, value: unknown): [string, unknown, unknown][] {
  const byChannel = (seen: (channel: string) => unknown): [string, unknown, unknown][] =>
    Object.entries(value as object).map(([channel, wanted]) => [`${what} of ${channel}`, seen(channel), wanted]);
  switch (what) {
    case "state":
      return [[what, world.line.state.state, value]];
    case "wire":
      return [[what, world.line.wire, value]];
    case "wires":
      return [[what, world.wires, value]];
    case "outcomes":
      return [[what, world.outcomes, value]];
    case "tokens":
      return [[what, world.tokens, value]];
    case "attempts":
      return [[what, world.network.attempts.length, value]];
    case "entries":
      return byChannel((channel) => world.entries[channel]);
    case "gaps":
      return byChannel((channel) => world.gaps[channel]);
    case "ended":
      return byChannel((channel) => world.ended[channel]);
    case "log":
      return byChannel((channel) => world.log(channel));
    default:
      return [[`${what} is nothing that can be seen`, false, true]];
  }
}
