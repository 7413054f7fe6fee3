/** The line as a program sees it, and the shell around its state: it carries out effects and decides nothing. */
import { Channel, type ChannelHost, type ChannelOptions } from "./channel.js";
import { expiryOf } from "./credential.js";
import { Emitter, type Off } from "./emitter.js";
import type { Ending } from "./ending.js";
import { EverwireError } from "./error.js";
import { type Effect, initial, type LineEvent, type LineState, step, wakeAt } from "./line_state.js";
import type { Reply, ServerMessage } from "./message.js";
import { Outbox } from "./outbox.js";
import type { ConnectOptions, Environment, Settings, WireName } from "./settings.js";
import { openWire, type Wire } from "./wire.js";

/** What a line tells its listeners. */
export interface LineEvents {
  /** Messages flow over another wire, or again; `reason` tells why it is this one. */
  wire: { readonly wire: WireName; readonly previous: WireName | null; readonly reason: string };
  /** The line went from one state to another. */
  state: LineState;
}

/** One line to a server, carrying any number of channels; made by `connect`. */
export class Line extends Emitter<LineEvents> {
  readonly #url: string;
  readonly #settings: Settings;
  readonly #environment: Environment;
  readonly #token: (() => string | Promise<string>) | null;
  readonly #memory: WireMemory;
  readonly #channels = new Map<string, Channel>();
  readonly #wires = new Map<number, Wire>();
  readonly #outbox: Outbox;
  readonly #host: ChannelHost;
  readonly #keyPrefix: string;
  readonly #offWake: Off | undefined;
  /** Callbacks of commands that were sent on this line and not answered, by id. */
  readonly #asked = new Map<number, (reply: Reply) => void>();
  /** Channels left on this line. */
  readonly #left = new Set<string>();
  #state: LineState;
  #wire: WireName | null = null;
  #tokenText: string | null = null;
  #outgoing: string[] = [];
  #lastId = 0;
  #lastKey = 0;
  #timer: { readonly at: number; readonly cancel: Off } | null = null;

  /** @internal Made by `connect`. */
  constructor(url: string, settings: Settings, environment: Environment, options: ConnectOptions) {
    super();
    this.#url = `${url.replace(/\/+$/, "")}/connect`;
    this.#settings = settings;
    this.#environment = environment;
    this.#token = options.token ?? null;
    this.#memory = new WireMemory(`everwire ${url} ${options.network?.() ?? ""}`, environment, settings.rememberMs);
    this.#outbox = new Outbox(settings, environment);
    // Two draws, so that nobody meets another's key by chance, or by guessing.
    this.#keyPrefix = [0, 0].map(() => Math.floor(environment.random() * 2 ** 52).toString(36)).join("");
    this.#host = this.#hostForChannels();
    this.#state = initial(this.#memory.recall() ?? settings.wires[0]!, this.#token !== null, settings.returnMs);
    this.#offWake = environment.onWake?.(() => this.#step({ type: "wake" }));
    this.#step({ type: "start" });
  }

  /** Where the line stands. */
  get state(): LineState {
    return this.#state;
  }

  /** The wire in use; `null` while none is open. */
  get wire(): WireName | null {
    return this.#state.state === "open" ? this.#state.wire : null;
  }

  /** The channel `name`. Asked again, it is the same one until it is closed; the first options count. */
  channel(name: string, options: ChannelOptions = {}): Channel {
    const known = this.#channels.get(name);
    if (known) return known;
    const channel = new Channel(name, options, this.#host);
    if (this.#state.state === "closed") channel.onEnd(this.#state.error);
    else this.#channels.set(name, channel);
    return channel;
  }

  /** Ends the line: loops end, and what was not answered is rejected with `closed`. */
  close(): void {
    this.#step({ type: "close" });
  }

  #hostForChannels(): ChannelHost {
    const line = this;
    return {
      settings: this.#settings,
      environment: this.#environment,
      get isOpen() {
        return line.#state.state === "open";
      },
      subscribe: (name, members, onReply) => {
        // Over HTTP a reply may overtake entries of the subscription before, which would push the cursor too far. A new
        // session has no past.
        if (this.#left.has(name) && this.wire !== "websocket") this.#step({ type: "renew" });
        else this.#command(members, onReply);
      },
      unsubscribe: (name, onReply) => {
        this.#left.add(name);
        if (this.#state.state === "open") this.#command(`"op":"unsubscribe","channel":${JSON.stringify(name)}`, onReply);
      },
      ask: (members, what) => {
        if (this.#state.state === "closed") return Promise.reject(this.#state.error ?? closedError());
        const answer = this.#outbox.add(members, what);
        this.#flush();
        this.#arm();
        return answer;
      },
      newKey: () => `${this.#keyPrefix}-${++this.#lastKey}`,
      forget: (name) => void this.#channels.delete(name),
    };
  }

  #step(event: LineEvent): void {
    const { now, random } = this.#environment;
    const before = this.#state;
    const [state, effects] = step(before, event, { now: now(), roll: random(), settings: this.#settings });
    this.#state = state;
    for (const effect of effects) this.#carryOut(effect);
    if (state.state !== before.state) this.emit("state", state);
    this.#arm();
  }

  #carryOut(effect: Effect): void {
    switch (effect.do) {
      case "open":
        return this.#open(effect.wire, effect.serial);
      case "close":
        this.#wires.get(effect.serial)?.close(effect.code);
        this.#wires.delete(effect.serial);
        return;
      case "ping":
        if (this.#state.state === "open" && this.#state.serial === effect.serial) this.#send(PING);
        else this.#wires.get(effect.serial)?.send([PING]);
        return;
      case "fetch-token":
        return this.#fetchToken();
      case "authenticate":
        return this.#command(`"op":"authenticate","token":${JSON.stringify(this.#tokenText)}`, (reply) => {
          if ("error" in reply) this.#step({ type: "token-refused" });
        });
      case "suspend":
        this.#outgoing = [];
        this.#asked.clear();
        this.#outbox.suspend();
        for (const channel of [...this.#channels.values()]) channel.onLost();
        return;
      case "resume":
        return this.#resume(effect.wire, effect.reason);
      case "finish":
        return this.#finish(effect.error);
    }
  }

  #open(wire: WireName, serial: number): void {
    const request = { url: this.#url, token: this.#tokenText, pollMs: this.#settings.heartbeatMs, environment: this.#environment };
    const opened = openWire(wire, request, {
      onMessage: (message) => this.#onMessage(serial, message),
      onHeard: () => this.#step({ type: "heard", serial }),
      onEnded: (ending) => this.#onEnded(serial, ending),
    });
    this.#wires.set(serial, opened);
  }

  #resume(wire: WireName, reason: string): void {
    const previous = this.#wire;
    this.#wire = wire;
    this.#left.clear();
    this.#memory.remember(wire);
    for (const channel of [...this.#channels.values()]) channel.onOpen();
    this.#flush();
    // Something has to be answered, or nothing would tell that the way up is open.
    if (this.#outgoing.length === 0) this.#send(PING);
    this.emit("wire", { wire, previous, reason });
  }

  #finish(error: EverwireError | null): void {
    this.#offWake?.();
    const channels = [...this.#channels.values()];
    this.#channels.clear();
    for (const channel of channels) channel.onEnd(error);
    this.#outbox.fail(error ?? closedError());
  }

  #fetchToken(): void {
    const { now } = this.#environment;
    // Not called here, so that a token that throws is a token that fails.
    Promise.resolve()
      .then(this.#token)
      .then(
        (token) => {
          this.#tokenText = token ?? null;
          this.#step({ type: "token", expiresAt: token ? expiryOf(token, now()) : null });
        },
        (error: unknown) => this.#step({ type: "token-failed", reason: `the token could not be had: ${String(error)}` }),
      );
  }

  #onMessage(serial: number, message: ServerMessage): void {
    if (!("ev" in message)) return this.#onReply(serial, message);
    switch (message.ev) {
      case "welcome":
        return this.#step({ type: "welcome", serial, heartbeatMs: millis(message.heartbeat_ms) || null });
      case "drain":
        return this.#step({ type: "drain", serial, afterMs: millis(message.after_ms) });
      case "ping":
        return;
      default:
        // Events that a later server may bring are not for us.
        if (this.#isCurrent(serial)) this.#channels.get(message.channel)?.onEvent(message);
    }
  }

  #onReply(serial: number, reply: Reply): void {
    if (this.#isCurrent(serial)) {
      const onReply = this.#asked.get(reply.re);
      this.#asked.delete(reply.re);
      onReply?.(reply);
      // The reply may have made room in the window.
      this.#flush();
    }
    this.#step({ type: "answered", serial, more: this.#asked.size > 0 });
  }

  #onEnded(serial: number, ending: Ending): void {
    this.#wires.delete(serial);
    if (ending.kind === "closed" && ending.code === 1009 && this.#isCurrent(serial)) this.#outbox.dropLongest();
    this.#step({ type: "ended", serial, ending });
  }

  #isCurrent(serial: number): boolean {
    return this.#state.state === "open" && this.#state.serial === serial;
  }

  #flush(): void {
    if (this.#state.state === "open") this.#outbox.flush((members, onReply) => this.#command(members, onReply));
  }

  #command(members: string, onReply: (reply: Reply) => void): void {
    const id = ++this.#lastId;
    this.#asked.set(id, onReply);
    this.#send(`{"id":${id},${members}}`);
  }

  /** Collects what one turn of the program sends, since over HTTP each sending is a request. */
  #send(command: string): void {
    if (this.#outgoing.push(command) === 1) {
      queueMicrotask(() => {
        const commands = this.#outgoing;
        this.#outgoing = [];
        if (commands.length > 0 && this.#state.state === "open") this.#wires.get(this.#state.serial)?.send(commands);
      });
    }
    this.#step({ type: "asked" });
  }

  #arm(): void {
    const at = Math.min(wakeAt(this.#state) ?? Infinity, this.#outbox.wakeAt());
    // A timer that comes too early does no harm, and moving it with each message would cost more than that.
    if (this.#timer && this.#timer.at <= at) return;
    this.#timer?.cancel();
    this.#timer = null;
    if (at === Infinity) return;
    const run = () => {
      this.#timer = null;
      this.#outbox.expire();
      this.#flush();
      this.#step({ type: "tick" });
    };
    // Timers of platforms overflow beyond 2^31 ms.
    const delay = Math.min(Math.max(0, at - this.#environment.now()), 2 ** 31 - 1);
    this.#timer = { at, cancel: this.#environment.after(delay, run) };
  }
}

/** Which wire worked on this network, kept over visits. A storage that refuses is none. */
class WireMemory {
  constructor(
    readonly key: string,
    readonly environment: Environment,
    readonly rememberMs: number,
  ) {}

  recall(): WireName | null {
    try {
      const { wire, at } = JSON.parse(this.environment.storage?.getItem(this.key) ?? "{}");
      return this.environment.now() - at < this.rememberMs ? wire : null;
    } catch {
      return null;
    }
  }

  remember(wire: WireName): void {
    try {
      this.environment.storage?.setItem(this.key, JSON.stringify({ wire, at: this.environment.now() }));
    } catch {}
  }
}

/** A time that the server told; what is none counts as 0, since no timer could end with it. */
function millis(told: number | undefined): number {
  return Number(told) > 0 ? Number(told) : 0;
}

function closedError(): EverwireError {
  return new EverwireError("closed", "the line was closed before the answer; connect anew");
}

const PING = '{"id":0,"op":"ping"}';
