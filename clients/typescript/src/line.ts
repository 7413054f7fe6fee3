/** The line as a program sees it, and the shell around its life: it carries out what it is told, and decides nothing. */
import { Channel, type ChannelHost, type ChannelOptions, type Content } from "./channel.js";
import { expiryOf } from "./credential.js";
import { Emitter, type Off } from "./emitter.js";
import type { Ending } from "./ending.js";
import { EverwireError } from "./error.js";
import { type LineEvent, LineLife, type LineState } from "./line_state.js";
import { HEARTBEAT_MS, type Ok, positive, type Reply, type ServerMessage } from "./message.js";
import { Outbox } from "./outbox.js";
import type { ConnectOptions, Environment, Settings, WireName } from "./settings.js";
import { openWire, type Wire } from "./wire.js";
import { recallWire, rememberWire } from "./wire_memory.js";

/** What a line tells its listeners. */
export interface LineEvents {
  /** Messages flow over another wire, or again; `reason` tells why it is this one. */
  wire: { readonly wire: WireName; readonly previous: WireName | null; readonly reason: string };
  /** The line went from one state to another. */
  state: LineState;
}

/** One line to a server, carrying any number of channels; made by `connect`. */
export class Line extends Emitter<LineEvents> {
  /** Who publishes over this line; entries with this name in `Everwire-Publisher` are its own for `echo: false`. */
  readonly publisher: string;
  readonly #url: string;
  readonly #environment: Environment;
  readonly #token: ConnectOptions["token"];
  readonly #life: LineLife;
  readonly #outbox: Outbox;
  readonly #host: ChannelHost;
  readonly #offWake: Off | undefined;
  readonly #channels = new Map<string, Channel<unknown>>();
  /** Callbacks of commands that were sent on this line and not answered, by id. */
  readonly #asked = new Map<number, (reply: Reply) => void>();
  #previous: WireName | null = null;
  /** The name of the state that listeners were told of last. */
  #told = "waiting";
  #tokenText = "";
  #outgoing: string[] = [];
  #lastId = 0;
  #timerAt = Infinity;
  #cancelTimer: Off | undefined;

  /** @internal Made by `connect`. */
  constructor(url: string, settings: Settings, environment: Environment, { token, publisher, network }: ConnectOptions) {
    super();
    const { now, random, onWake } = environment;
    // Two draws, so that nobody meets another's key by chance, or by guessing.
    const unguessable = () => (random() * 2 ** 52).toString(36) + (random() * 2 ** 52).toString(36);
    const keyPrefix = unguessable();
    const memory = `everwire ${url} ${network?.() ?? ""}`;
    this.publisher = publisher ?? unguessable();
    this.#url = `${url}/connect`;
    this.#environment = environment;
    this.#token = token;
    this.#outbox = new Outbox(settings, environment);
    this.#host = {
      settings,
      environment,
      wire: () => this.wire,
      command: (members, onReply) => this.#command(members, onReply),
      ask: (members, what) => this.#ask(members, what),
      newKey: () => `${keyPrefix}-${++this.#lastId}`,
      forget: (name) => void this.#channels.delete(name),
    };
    const shell = {
      settings,
      now,
      random,
      open: (wire: WireName) => this.#open(wire),
      ping: (link: Wire) => (this.#isCurrent(link) ? this.#send(PING) : link.send([PING])),
      fetchToken: () => this.#fetchToken(),
      authenticate: () =>
        this.#command(`"op":"authenticate","token":${JSON.stringify(this.#tokenText)}`, (reply) => {
          if ("error" in reply) this.#step({ type: "token-refused" });
        }),
      suspend: () => this.#suspend(),
      resume: (wire: WireName, reason: string) => {
        rememberWire(environment, memory, wire);
        this.#resume(wire, reason);
      },
      finish: (error: EverwireError | null) => this.#finish(error),
    };
    const preferred = recallWire(environment, memory, settings.rememberMs) ?? settings.wires[0]!;
    this.#life = new LineLife(shell, preferred, !!token);
    this.#offWake = onWake?.(() => this.#step({ type: "wake" }));
    this.#step({ type: "start" });
  }

  /** Where the line stands. */
  get state(): LineState {
    return this.#life.state;
  }

  /** The wire in use; `null` while none is open. */
  get wire(): WireName | null {
    const { state } = this;
    return state.state === "open" ? state.wire : null;
  }

  /**
   * The channel `name`. Asked again, it is the same one until it is closed; the first options count. `Data` is what its
   * entries hold, for programs that know.
   */
  channel<Data = Content>(name: string, options: ChannelOptions = {}): Channel<Data> {
    const known = this.#channels.get(name);
    if (known) return known as unknown as Channel<Data>;
    const channel = new Channel<Data>(name, options, this.#host);
    if (this.state.state === "closed") channel.onEnd(this.state.error);
    else this.#channels.set(name, channel as unknown as Channel<unknown>);
    return channel;
  }

  /** Ends the line: loops end, and what was not answered is rejected with `closed`. */
  close(): void {
    this.#step({ type: "close" });
  }

  #step(event: LineEvent): void {
    this.#life.handle(event);
    this.#arm();
    const { state } = this;
    if (state.state === this.#told) return;
    this.#told = state.state;
    this.emit("state", state);
  }

  #open(wire: WireName): Wire {
    const request = { url: this.#url, query: `?publisher=${encodeURIComponent(this.publisher)}`, token: this.#tokenText, environment: this.#environment };
    const link: Wire = openWire(wire, request, {
      onMessage: (message) => this.#onMessage(link, message),
      onEnded: (ending) => this.#onEnded(link, ending),
    });
    return link;
  }

  #suspend(): void {
    this.#outgoing = [];
    this.#asked.clear();
    this.#outbox.suspend();
    for (const channel of this.#channels.values()) channel.onLost();
  }

  #resume(wire: WireName, reason: string): void {
    const previous = this.#previous;
    this.#previous = wire;
    for (const channel of this.#channels.values()) channel.onOpen();
    this.#flush();
    // Something has to be answered, or nothing would tell that the way up is open.
    if (this.#outgoing.length === 0) this.#send(PING);
    this.emit("wire", { wire, previous, reason });
  }

  #finish(error: EverwireError | null): void {
    this.#offWake?.();
    // A timer that is left over would keep Node from ending.
    this.#cancelTimer?.();
    for (const channel of this.#channels.values()) channel.onEnd(error);
    this.#outbox.end(error ?? closedError());
  }

  #fetchToken(): void {
    const { now } = this.#environment;
    // Not called here, so that a token that throws is a token that fails.
    Promise.resolve()
      .then(this.#token)
      .then(
        (token = "") => {
          this.#tokenText = token;
          this.#step({ type: "token", expiresAt: expiryOf(token, now()) });
        },
        (error) => this.#step({ type: "token-failed", reason: `the token could not be had: ${error}` }),
      );
  }

  #onMessage(from: Wire, message: ServerMessage): void {
    // Over HTTP a reply comes on a request of its own, and tells nothing of the way down.
    if ("ev" in message || this.wire === "websocket") this.#step({ type: "heard", from });
    if (!("ev" in message)) this.#onReply(from, message);
    else if (message.ev === "welcome") this.#step({ type: "welcome", from, heartbeatMs: positive(message.heartbeat_ms, HEARTBEAT_MS) });
    else if (message.ev === "drain") this.#step({ type: "drain", from, afterMs: positive(message.after_ms) });
    // Events that a later server may bring are not for us.
    else if ("channel" in message && this.#isCurrent(from)) this.#channels.get(message.channel)?.onMessage(message);
  }

  #onReply(from: Wire, reply: Reply): void {
    if (this.#isCurrent(from)) {
      const onReply = this.#asked.get(reply.re);
      this.#asked.delete(reply.re);
      onReply?.(reply);
      // The reply may have made room in the window.
      this.#flush();
    }
    this.#step({ type: "answered", from, more: this.#asked.size > 0 });
  }

  #onEnded(from: Wire, ending: Ending): void {
    if ((ending.code === 1009 || ending.code === 413) && this.#isCurrent(from)) this.#outbox.dropLongest();
    this.#step({ type: "ended", from, ending });
  }

  #isCurrent(link: Wire): boolean {
    const { state } = this.#life;
    return state.state === "open" && state.link === link;
  }

  #ask(members: string, what: string): Promise<Ok> {
    const { state } = this;
    if (state.state === "closed") return Promise.reject(state.error ?? closedError());
    const answer = this.#outbox.add(members, what);
    this.#flush();
    this.#arm();
    return answer;
  }

  #flush(): void {
    if (this.wire) this.#outbox.flush((members, onReply) => this.#command(members, onReply));
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
        const { state } = this.#life;
        const commands = this.#outgoing;
        this.#outgoing = [];
        if (commands.length > 0 && state.state === "open") state.link.send(commands);
      });
    }
    this.#life.handle({ type: "asked" });
    this.#arm();
  }

  #arm(): void {
    const { now, after } = this.#environment;
    const at = Math.min(this.#life.wakeAt, this.#outbox.wakeAt);
    // A timer that comes too early does no harm, and moving it with each message would cost more than that.
    if (this.#timerAt <= at) return;
    this.#cancelTimer?.();
    this.#timerAt = at;
    // Timers of platforms overflow beyond 2^31 ms.
    this.#cancelTimer = after(Math.min(Math.max(0, at - now()), 2 ** 31 - 1), () => {
      this.#timerAt = Infinity;
      this.#outbox.expire();
      this.#flush();
      this.#step({ type: "tick" });
    });
  }
}

function closedError(): EverwireError {
  return new EverwireError("closed", "the line was closed before the answer; connect anew");
}

const PING = '{"id":0,"op":"ping"}';
