/** One client in a world of its own: fake server, network, clock and storage. */
import { connect } from "../src/connect.js";
import type { Line } from "../src/line.js";
import type { Channel, ChannelOptions, Entry } from "../src/channel.js";
import { EverwireError } from "../src/error.js";
import type { ConnectOptions } from "../src/settings.js";
import { FakeClock, settled } from "./fake_clock.js";
import { FakeNetwork } from "./fake_network.js";
import { FakeServer, tokenOf } from "./fake_server.js";

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
  /** Chance, which is always the same. */
  roll = 0.5;
  tokens = 0;
  line!: Line;
  wake = () => {};
  readonly #off = new Map<string, () => void>();

  connect(options: ConnectOptions = {}, tokenMs: number | null = null): Line {
    this.server.wantsToken = tokenMs !== null;
    const token = () => {
      this.tokens += 1;
      return tokenOf(this.clock.now, (this.clock.now + tokenMs!) / 1000);
    };
    this.line = connect("https://example.org", {
      ...(tokenMs !== null && { token }),
      ...options,
      environment: {
        WebSocket: this.network.WebSocket,
        fetch: this.network.fetch,
        now: () => this.clock.now,
        after: this.clock.after,
        random: () => this.roll,
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
        (error: unknown) => this.outcomes.push(error instanceof EverwireError ? error.code : String(error)),
      );
  }

  log(name: string): unknown[] {
    return this.server.log(name).entries.map(({ data }) => data);
  }

  async advance(ms: number): Promise<void> {
    await this.clock.advance(ms);
    await settled();
  }
}
