// The table of scenarios with the real server behind a network that misbehaves: `testdata/client-scenarios.json`.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { startServer } from "../server.mjs";
import { Lateness } from "./lateness.mjs";
import { RustClient } from "./rust-client.mjs";
import { TypeScriptClient } from "./typescript-client.mjs";
import { CONFIG, SCALE, World } from "./world.mjs";

const { scenarios } = JSON.parse(readFileSync(new URL("../../testdata/client-scenarios.json", import.meta.url)));

/** What needs a server that can be commanded. It is played with a fake one only. */
const ONLY_WITH_A_FAKE = {
  "a drain is obeyed to the millisecond": "a server that stops chooses the time by chance",
};

/** At the smallest of the table's times, divided by `SCALE`, a machine that is later than this is too slow for it. */
const LATE_MS = 100;
/** What a late machine played wrongly says nothing. It is played again with more time. */
const SCALES = [SCALE, SCALE / 5];

/** A server that may be ended and started again where it was. */
class Server {
  static async start() {
    const server = new Server();
    server.now = await startServer({ dev: false, config: CONFIG });
    return server;
  }

  get host() {
    return this.now.host;
  }

  get url() {
    return this.now.url;
  }

  /** Ends the process without a word, and starts another one. */
  async restart() {
    await this.now.stop("SIGKILL");
    this.now = await startServer({ dev: false, config: CONFIG, listen: this.host });
  }

  stop() {
    return this.now.stop("SIGKILL");
  }
}

// The longest first; more at a time would slow each other down.
const lengthOf = ({ steps }) => steps.reduce((sum, { do: what, ms }) => sum + (what === "advance" ? ms : 0), 0);
scenarios.sort((a, b) => lengthOf(b) - lengthOf(a));

function play(Client) {
  let shared, lateness;
  before(async () => {
    shared = await Server.start();
    lateness = new Lateness(shared);
  });
  after(() => lateness?.stop());
  after(() => shared?.stop());

  test("knows each scenario that is not played", () => {
    for (const name of Object.keys(ONLY_WITH_A_FAKE)) assert.ok(scenarios.some((scenario) => scenario.name === name), name);
  });

  for (const [number, { name, steps }] of scenarios.entries()) {
    test(name, { skip: ONLY_WITH_A_FAKE[name] }, async (t) => {
      for (const [attempt, scale] of SCALES.entries()) {
        const began = performance.now();
        try {
          // No attempt meets the channels of another.
          return await playOnce(t, { Client, steps, shared, scale, number: number + attempt * scenarios.length });
        } catch (error) {
          const late = Math.round(lateness.since(began));
          if (late <= LATE_MS || attempt === SCALES.length - 1) throw error;
          console.log(`played again, since the machine was ${late} ms late: ${name}`);
        }
      }
    });
  }
}

async function playOnce(t, { Client, steps, shared, scale, number }) {
  const restarts = steps.some((step) => step.do === "restart" && !step.keep_logs);
  const server = restarts ? await Server.start() : shared;
  if (restarts) t.after(() => server.stop());
  const world = await World.create({ Client, server, number, steps, scale });
  t.after(() => world.close());
  for (const [at, step] of steps.entries()) {
    await world.take(step).catch((error) => {
      throw new Error(`step ${at}, ${JSON.stringify(step)}: ${error.message}`);
    });
  }
  await world.settle(steps);
}

describe("the TypeScript client", { concurrency: 8 }, () => play(TypeScriptClient));
describe("the Rust client", { concurrency: 8 }, () => play(RustClient));

for (const [name, why] of Object.entries(ONLY_WITH_A_FAKE)) console.log(`not played: ${name}, since ${why}`);
