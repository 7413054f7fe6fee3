/** One client in a world of its own: fake server, network, clock and storage. */
import assert from "node:assert/strict";
import type { Line } from "../src/line.js";
import type { Channel, ChannelOptions, Entry } from "../src/channel.js";
import type { EverwireError } from "../src/error.js";
import * as source from "../src/index.js";
import type { ConnectOptions } from "../src/settings.js";
import { FakeClock, settled } from "./fake_clock.js";
import { FakeNetwork } from "./fake_network.js";
import { FakeServer, tokenOf } from "./fake_server.js";

/** What is tested: the source, and the file that is shipped, in which names are shortened. */
export const BUILDS: readonly (readonly [name: string, connect: typeof source.connect])[] = [
  ["the source", source.connect],
  ["the built file", ((await import(new URL("../../dist/index.js", import.meta.url).href)) as typeof source).connect],
];

export class World {
  readonly clock = new FakeClock();
  readonly server = new FakeServer(this.clock);
  readonly network = new FakeNetwork(this.server);
  readonly stored = new Map<string, string>();
  readonly entries: Record<string, unknown[]> = {};
  readonly gaps: Record<string, number> = {};
  readonly ended: Record<string, string> = {};
  readonly wires: string[] = [];
  readonly outcomes: string[] = [];
  /** Chance, which is always the same unless a test draws it. */
  random = () => 0.5;
  tokens = 0;
  line!: Line;
  wake = () => {};
  readonly #off = new Map<string, () => void>();

  constructor(readonly build: typeof source.connect = source.connect) {}

  connect(options: ConnectOptions = {}, tokenMs: number | null = null): Line {
    // The next visit begins when the one before has ended.
    this.line?.close();
    this.server.wantsToken = tokenMs !== null;
    const token = () => {
      this.tokens += 1;
      return tokenOf(this.clock.now, (this.clock.now + tokenMs!) / 1000);
    };
    this.line = this.build("https://example.org", {
      ...(tokenMs !== null && { token }),
      ...options,
      environment: {
        WebSocket: this.network.WebSocket,
        fetch: this.network.fetch,
        now: () => this.clock.now,
        after: this.clock.after,
        random: () => this.random(),
        storage: { getItem: (key) => this.stored.get(key) ?? null, setItem: (key, value) => void this.stored.set(key, value) },
        onWake: (wake) => {
          this.wake = wake;
          return () => {};
        },
      },
    });
    this.line.on("wire", ({ wire }) => this.wires.push(wire));
    return this.line;
  }

  subscribe(name: string, options: ChannelOptions = {}): Channel {
    const channel = this.line.channel(name, options);
    const seen = (this.entries[name] ??= []);
    this.gaps[name] ??= 0;
    channel.on("gap", () => (this.gaps[name]! += 1));
    channel.on("end", (error) => (this.ended[name] = error?.problem?.type ?? error?.code ?? "closed"));
    this.#off.set(name, channel.on("entry", (entry: Entry) => seen.push(entry.data)));
    return channel;
  }

  unsubscribe(name: string): void {
    this.#off.get(name)?.();
  }

  publish(name: string, data: never): void {
    this.line
      .channel(name)
      .publish(data)
      .then(
        () => this.outcomes.push("ok"),
        (error: EverwireError) => this.outcomes.push(error.code),
      );
  }

  log(name: string): unknown[] {
    return this.server.log(name).entries.map(({ data }) => data);
  }

  /** Closes the line, which leaves nothing behind. */
  async end(): Promise<void> {
    this.line.close();
    await settled();
    assert.equal(this.server.sessions.size, 0, "sessions that are left");
  }

  async advance(ms: number): Promise<void> {
    await this.clock.advance(ms);
    await settled();
  }
}
