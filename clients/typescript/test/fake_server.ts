/** A server of sessions in memory: what the protocol promises, in the fewest words, and no wire. */
import type { FakeClock } from "./fake_clock.js";
import { FakePresence } from "./fake_presence.js";

export type Message = Record<string, unknown>;

interface LogEntry {
  readonly offset: string;
  readonly data: unknown;
  readonly time: number;
  readonly publisher: string | null;
}

interface Log {
  readonly epoch: number;
  entries: LogEntry[];
  length: number;
  oldest: string;
  closed: boolean;
}

/** Where a session's messages go, and how it ends. */
export interface Sink {
  message(message: Message): void;
  close(code: number, reason: string): void;
}

export class FakeServer {
  readonly sessions = new Map<string, Session>();
  heartbeatMs = 20_000;
  /** Refuses that many of the next publications with `too-many`. */
  refusePublications = 0;
  /** Answers that publications get are lost this many times, and the line with them. */
  loseReplies = 0;
  /** Tokens made before this time are refused. */
  tokensFrom = 0;
  wantsToken = false;
  up = true;
  /** A longer message on a WebSocket closes it with 1009; over HTTP it is refused with 413. */
  messageCharsMax = Infinity;
  #logs = new Map<string, Log>();
  #presences = new Map<string, FakePresence>();
  #keys = new Map<string, Message>();
  #epoch = 1;
  #lastSession = 0;

  constructor(readonly clock: FakeClock) {}

  open(token: string | null, sink: Sink, overHttp: boolean, publisher: string | null): Session {
    this.#lastSession += 1;
    const session = new Session(this, `s${this.#lastSession}`, sink, overHttp, token, publisher);
    this.sessions.set(session.id, session);
    const identity = overHttp ? { session: session.id, secret: `secret of ${session.id}` } : {};
    sink.message({ ev: "welcome", ...identity, heartbeat_ms: this.heartbeatMs });
    session.beat();
    return session;
  }

  accepts(token: string | null): boolean {
    if (!this.wantsToken) return true;
    const { iat, exp } = claimsOf(token);
    return iat >= this.tokensFrom && exp * 1000 > this.clock.now;
  }

  log(channel: string): Log {
    const known = this.#logs.get(channel);
    if (known) return known;
    const log: Log = { epoch: this.#epoch, entries: [], length: 0, oldest: offsetOf(this.#epoch, 0), closed: false };
    this.#logs.set(channel, log);
    return log;
  }

  presence(channel: string): FakePresence {
    const known = this.#presences.get(channel);
    if (known) return known;
    const presence = new FakePresence(channel, (sequence) => offsetOf(this.#epoch, sequence), this.clock);
    this.#presences.set(channel, presence);
    return presence;
  }

  append(channel: string, data: unknown, publisher: string | null = null): string {
    const log = this.log(channel);
    log.length += 1;
    const entry = { offset: offsetOf(log.epoch, log.length), data, time: this.clock.now, publisher };
    log.entries.push(entry);
    for (const session of [...this.sessions.values()]) session.deliver(channel, entry);
    return entry.offset;
  }

  publish(command: Message, publisher: string | null): Message {
    if (this.refusePublications > 0) {
      this.refusePublications -= 1;
      return { error: { type: "too-many", title: "too many appends", retry: true } };
    }
    const channel = String(command.channel);
    if (this.log(channel).closed) return { error: { type: "closed", detail: "the channel is closed", retry: false } };
    const key = `${channel} ${String(command.key)}`;
    const known = this.#keys.get(key);
    if (known) return known;
    const reply = { ok: { offset: this.append(channel, command.data ?? command.data64, publisher) } };
    this.#keys.set(key, reply);
    return reply;
  }

  /** Drops all but the newest `keep` entries. */
  trim(channel: string, keep: number): void {
    const log = this.log(channel);
    const dropped = log.entries.slice(0, Math.max(0, log.entries.length - keep));
    log.entries = log.entries.slice(dropped.length);
    log.oldest = dropped.at(-1)?.offset ?? log.oldest;
  }

  closeChannel(channel: string): void {
    this.log(channel).closed = true;
    for (const session of [...this.sessions.values()]) session.endChannel(channel, { ev: "closed", channel });
  }

  /** The process ends and begins again: every line is cut; the logs survive or not. */
  restart(keepLogs: boolean): void {
    for (const session of [...this.sessions.values()]) session.end(1006, "");
    if (keepLogs) return;
    this.#epoch += 1;
    this.#logs = new Map();
    this.#presences = new Map();
    this.#keys = new Map();
  }

  drain(afterMs: number): void {
    for (const session of [...this.sessions.values()]) {
      session.sink.message({ ev: "drain", after_ms: afterMs });
      session.end(1001, "the server is stopping");
    }
  }
}

export class Session {
  /** The channels that it reads, and whether its own entries come too. */
  readonly #channels = new Map<string, { readonly echo: boolean }>();
  #stopBeat = () => {};

  constructor(
    readonly server: FakeServer,
    readonly id: string,
    readonly sink: Sink,
    readonly overHttp: boolean,
    private token: string | null,
    readonly publisher: string | null,
  ) {}

  /** The channels that it reads. */
  get channels(): string[] {
    return [...this.#channels.keys()];
  }

  beat(): void {
    this.#stopBeat = this.server.clock.after(this.server.heartbeatMs, () => {
      if (!this.server.accepts(this.token)) return this.end(4401, "the credential expired");
      this.sink.message({ ev: "ping" });
      this.beat();
    });
  }

  deliver(channel: string, { publisher, ...entry }: LogEntry): void {
    const read = this.#channels.get(channel);
    if (!read || (!read.echo && publisher !== null && publisher === this.publisher)) return;
    this.sink.message({ ev: "entry", channel, ...entry });
  }

  endChannel(channel: string, event: Message): void {
    if (this.#leave(channel)) this.sink.message(event);
  }

  end(code: number, reason: string): void {
    this.drop();
    this.sink.close(code, reason);
  }

  drop(): void {
    this.#stopBeat();
    for (const channel of this.channels) this.#leave(channel);
    this.server.sessions.delete(this.id);
  }

  /** Carries a command out; `null` if the line is lost before its reply. `then` is what follows the reply. */
  command(command: Message): { reply: Message; then: () => void } | null {
    const reply = (answer: Message, then = () => {}) => ({ reply: { re: command.id, ...answer }, then });
    const channel = String(command.channel);
    switch (command.op) {
      case "ping":
        return reply({ ok: {} });
      case "subscribe":
        return this.#subscribe(command, channel, reply);
      case "unsubscribe":
        this.#leave(channel);
        return reply({ ok: {} });
      case "publish": {
        const answer = this.server.publish(command, this.publisher);
        if (this.server.loseReplies > 0) {
          this.server.loseReplies -= 1;
          this.end(1006, "");
          return null;
        }
        return reply(answer);
      }
      case "history":
        return reply({ ok: this.#history(command, this.server.log(channel)) });
      case "presence":
        return reply({ ok: this.server.presence(channel).snapshot() });
      case "authenticate":
        this.token = String(command.token);
        if (this.server.accepts(this.token)) return reply({ ok: {} });
        return reply({ error: { type: "unauthorized", detail: "the token is not valid", retry: false } });
      default:
        return reply({ error: { type: "bad-request", detail: `no operation ${String(command.op)}`, retry: false } });
    }
  }

  #subscribe(command: Message, channel: string, reply: (answer: Message, then?: () => void) => { reply: Message; then: () => void }) {
    if (channel.startsWith("secret/")) return reply({ error: { type: "forbidden", detail: "not for you", retry: false } });
    const log = this.server.log(channel);
    const tail = offsetOf(log.epoch, log.length);
    const asked = String(command.offset ?? "now");
    this.#channels.set(channel, { echo: command.echo !== false });
    const sameLife = asked.startsWith(offsetOf(log.epoch, 0).slice(0, 4)) && asked <= tail;
    const recovered = asked === "now" || asked === "-1" || (sameLife && asked >= log.oldest);
    const from = asked === "now" ? tail : asked === "-1" || !recovered ? log.oldest : asked;
    const presence = command.presence === undefined ? null : this.server.presence(channel).enter(this, command.presence as object);
    return reply({ ok: { offset: from, recovered, ...(presence && { presence: presence.answer }) } }, () => {
      if (this.overHttp) this.sink.message({ ev: "subscribed", channel, offset: from, recovered });
      if (!recovered) this.sink.message({ ev: "gap", channel, oldest: log.oldest, newest: tail });
      for (const entry of log.entries) if (entry.offset > from && entry.offset <= tail) this.deliver(channel, entry);
      if (log.closed) this.endChannel(channel, { ev: "closed", channel });
      presence?.then();
    });
  }

  #leave(channel: string): boolean {
    this.server.presence(channel).leave(this);
    return this.#channels.delete(channel);
  }

  #history({ offset, last, limit }: Message, log: Log): Message {
    const after = log.entries.filter((entry) => offset === undefined || entry.offset > String(offset));
    const entries = after.slice(last === undefined ? 0 : -Number(last)).slice(0, Number(limit ?? 100));
    const end = entries.at(-1)?.offset ?? log.oldest;
    return { entries: entries.map(({ publisher: _, ...entry }) => entry), offset: end, up_to_date: end === offsetOf(log.epoch, log.length) };
  }
}

/** A token as the server of these tests makes them: not signed. */
export function tokenOf(iat: number, exp: number): string {
  return `head.${btoa(JSON.stringify({ iat, exp }))}.signature`.replaceAll("=", "");
}

function claimsOf(token: string | null): { iat: number; exp: number } {
  return token === null ? { iat: -1, exp: 0 } : (JSON.parse(atob(token.split(".")[1]!)) as { iat: number; exp: number });
}

function offsetOf(epoch: number, sequence: number): string {
  return `${String(epoch).padStart(4, "0")}${String(sequence).padStart(8, "0")}`;
}
