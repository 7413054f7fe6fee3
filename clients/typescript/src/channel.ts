/** A channel as a program sees it: read it, publish to it, ask who is there. */
import { backoffMs } from "./backoff.js";
import { Emitter, type Off } from "./emitter.js";
import { EverwireError } from "./error.js";
import type { EntryEvent, Json, MemberEvent, Ok, Reply, ServerEvent } from "./message.js";
import { Reader } from "./reader.js";
import type { Environment, Settings } from "./settings.js";
import { type Gap, stepSubscription, type Subscription, type SubscriptionEvent } from "./subscription.js";

/** One entry of a channel. */
export interface Entry {
  /** The position after it: where to resume. Offsets of one channel sort as strings. */
  readonly offset: string;
  /** When it was appended, in Unix milliseconds. */
  readonly time: number;
  /** The event's name, or `null`. */
  readonly event: string | null;
  /** The content: JSON, a string of a text channel, or bytes. */
  readonly data: Json | Uint8Array;
}

/** What `line.channel` takes. */
export interface ChannelOptions {
  /** Where to start: an offset from before, `"-1"` for the oldest entry kept, `"now"` for what is new. Default `"now"`. */
  readonly offset?: string;
  /** Start so many entries before the end, instead of at `offset`. */
  readonly last?: number;
  /** Be a member of the channel while it is read, and hear of others. Default `false`. */
  readonly presence?: boolean;
}

/** What `channel.publish` takes beside the data. */
export interface PublishOptions {
  /** The event's name, at most 64 bytes. */
  readonly event?: string;
  /** The idempotency key, at most 255 bytes. Default: a new one, which is what most want. */
  readonly key?: string;
}

/** Who is there: sessions of one user are one member. */
export interface Member {
  readonly user: string;
  readonly info?: Json;
  /** Sessions of this user. */
  readonly count?: number;
}

/** What a channel tells its listeners. Those of `entry`, `join`, `leave` and `members` make it be read. */
export interface ChannelEvents {
  entry: Entry;
  /** Some entries cannot be had; reading goes on after `oldest`. It may come before entries that still wait in a loop. */
  gap: Gap;
  /** Nothing follows. `null` if the channel or the line was closed, else why it cannot be read. */
  end: EverwireError | null;
  join: Member;
  leave: Member;
  /** Who is there, told anew after each reconnection. */
  members: readonly Member[];
}

/** The line, as a channel needs it. */
export interface ChannelHost {
  readonly settings: Settings;
  readonly environment: Environment;
  readonly isOpen: boolean;
  subscribe(name: string, members: string, onReply: (reply: Reply) => void): void;
  unsubscribe(name: string, onReply: () => void): void;
  /** Sends a command that has to be answered once. */
  ask(members: string, what: string): Promise<Ok>;
  newKey(): string;
  forget(name: string): void;
}

/** A channel on a line; made by `line.channel`. Reading starts with the first loop or listener and ends with the last. */
export class Channel extends Emitter<ChannelEvents> implements AsyncIterable<Entry> {
  readonly #host: ChannelHost;
  readonly #options: ChannelOptions;
  readonly #readers = new Set<Reader>();
  #subscription: Subscription = { state: "off", cursor: null };
  #full = false;
  #refusals = 0;
  #cancelRetry: Off | null = null;

  /** @internal Made by `line.channel`. */
  constructor(
    /** The channel's name. */
    readonly name: string,
    options: ChannelOptions,
    host: ChannelHost,
  ) {
    super();
    this.#host = host;
    this.#options = options;
  }

  /** The offset of the entry delivered last; `null` as long as there is none. Give it to another line to go on there. */
  get offset(): string | null {
    return this.#subscription.cursor;
  }

  override on<Name extends keyof ChannelEvents>(name: Name, listener: (value: ChannelEvents[Name]) => void): Off {
    const off = super.on(name, listener);
    this.#settle();
    return () => {
      off();
      this.#settle();
    };
  }

  /**
   * Reads the entries, beginning at the option `offset`, or where the last loop was left. It goes on over every
   * reconnection; what cannot be had is told by `gap`. Ends when the channel or the line is closed.
   *
   * @throws {EverwireError} `refused` if the channel may not be read
   */
  [Symbol.asyncIterator](): AsyncIterator<Entry> {
    const onTaken = () => {
      if (this.#full) this.#judgeFullness();
    };
    const reader = new Reader(onTaken, (left) => {
      this.#readers.delete(left);
      // With no other reader, what this one left waiting was seen by nobody.
      const [first] = left.waiting;
      if (first && !this.#isWanted) this.#step({ type: "rewind", cursor: first.before });
      this.#judgeFullness();
    });
    if (this.#subscription.state === "ended") reader.end(this.#subscription.error);
    else this.#readers.add(reader);
    this.#settle();
    return reader;
  }

  /**
   * Appends an entry, exactly once for as long as the server remembers keys: it is sent again with the same key when
   * the line is lost before the answer, and waits while there is no line. Publications of one line are sent in order.
   *
   * @returns the entry's offset
   * @throws {EverwireError} `refused`, `queue-full`, `timed-out`, `too-large`, `bad-data` or `closed`
   */
  async publish(data: Json | Uint8Array, options: PublishOptions = {}): Promise<string> {
    const content = data instanceof Uint8Array ? `"data64":"${toBase64(data)}"` : jsonOf(data);
    let members = `"op":"publish","channel":${JSON.stringify(this.name)},${content}`;
    if (options.event !== undefined) members += `,"event":${JSON.stringify(options.event)}`;
    members += `,"key":${JSON.stringify(options.key ?? this.#host.newKey())}`;
    return (await this.#host.ask(members, `a publication to ${this.name}`)).offset ?? "";
  }

  /**
   * Asks for entries of the past.
   *
   * @param query after which `offset`, or how many `last`, and at most how many (`limit`)
   * @throws {EverwireError} as `publish` does
   */
  async history(query: { readonly offset?: string; readonly last?: number; readonly limit?: number } = {}): Promise<readonly Entry[]> {
    const ok = await this.#ask("history", query);
    return Array.isArray(ok.entries) ? ok.entries.map(toEntry) : [];
  }

  /**
   * Asks who is there.
   *
   * @throws {EverwireError} as `publish` does
   */
  async members(): Promise<readonly Member[]> {
    const ok = await this.#ask("presence", {});
    return Array.isArray(ok.members) ? ok.members : [];
  }

  /** Ends all loops and stops reading. The line makes a new channel for this name when asked. */
  close(): void {
    this.#step({ type: "settle", wanted: false, open: this.#host.isOpen });
    this.#end(null);
  }

  /** @internal The line was opened. */
  onOpen(): void {
    this.#settle();
  }

  /** @internal The line was lost. */
  onLost(): void {
    this.#step({ type: "lost" });
  }

  /** @internal The line is over. */
  onEnd(error: EverwireError | null): void {
    this.#step({ type: "end", error });
  }

  /** @internal An event of this channel came. */
  onEvent(event: Extract<ServerEvent, { channel: string }>): void {
    switch (event.ev) {
      case "entry": {
        const before = this.#subscription.cursor;
        return this.#step({ type: "entry", offset: event.offset }, () => this.#deliver(toEntry(event), before));
      }
      case "gap":
        return this.#step({ type: "gap", gap: { oldest: event.oldest, newest: event.newest } });
      case "closed":
        return this.#end(null);
      case "revoked":
        return this.#end(EverwireError.refused(`to let ${this.name} be read any longer`, { type: "revoked", detail: event.detail ?? "the permission was taken back" }));
      case "join":
      case "leave":
        return this.emit(event.ev, memberOf(event));
    }
  }

  get #isWanted(): boolean {
    const names = ["entry", "join", "leave", "members"] as const;
    return this.#readers.size > 0 || names.some((name) => this.listening(name) > 0);
  }

  #settle(): void {
    const wanted = this.#isWanted && !this.#full && this.#cancelRetry === null;
    this.#step({ type: "settle", wanted, open: this.#host.isOpen });
  }

  #step(event: SubscriptionEvent, deliver?: () => void): void {
    const [next, effects] = stepSubscription(this.#subscription, event);
    this.#subscription = next;
    for (const effect of effects) {
      switch (effect.do) {
        case "subscribe":
          this.#host.subscribe(this.name, this.#subscribeMembers(), (reply) => this.#onJoined(reply));
          break;
        case "unsubscribe":
          this.#host.unsubscribe(this.name, () => {
            this.#step({ type: "left" });
            this.#settle();
          });
          break;
        case "deliver":
          deliver?.();
          break;
        case "tell-gap":
          this.emit("gap", effect.gap);
          break;
        case "end": {
          const error = next.state === "ended" ? next.error : null;
          this.#cancelRetry?.();
          for (const reader of this.#readers) reader.end(error);
          this.#readers.clear();
          this.emit("end", error);
        }
      }
    }
  }

  #subscribeMembers(): string {
    const { offset, last, presence } = this.#options;
    const { cursor } = this.#subscription;
    const start = cursor !== null ? { offset: cursor } : last !== undefined ? { last } : { offset: offset ?? "now" };
    return membersOf("subscribe", this.name, presence ? { ...start, presence } : start);
  }

  #onJoined(reply: Reply): void {
    if ("ok" in reply) {
      this.#refusals = 0;
      this.#step({ type: "joined", offset: reply.ok.offset ?? null, recovered: reply.ok.recovered !== false });
      // Who came and left while there was no line is told by telling who is there.
      if (this.#options.presence) {
        this.members().then((members) => this.emit("members", members), () => {});
      }
    } else if (reply.error.retry === true) {
      const { settings, environment } = this.#host;
      const jitter = backoffMs(environment.random(), this.#refusals++, settings.backoffMs, settings.backoffMaxMs);
      this.#step({ type: "lost" });
      this.#cancelRetry = environment.after((reply.error.after_ms ?? 0) + jitter, () => {
        this.#cancelRetry = null;
        this.#settle();
      });
    } else {
      this.#end(EverwireError.refused(`to let ${this.name} be read`, reply.error));
    }
  }

  #deliver(entry: Entry, before: string | null): void {
    for (const reader of this.#readers) reader.push(entry, before);
    this.emit("entry", entry);
    if (!this.#full) this.#judgeFullness();
  }

  /** A full reader makes the channel be left, not the memory grow: the log keeps what it will read later. */
  #judgeFullness(): void {
    const most = this.#host.settings.readerEntriesMax;
    let longest = 0;
    for (const reader of this.#readers) longest = Math.max(longest, reader.waiting.length);
    this.#full = longest >= most || (this.#full && longest > most / 2);
    this.#settle();
  }

  #end(error: EverwireError | null): void {
    this.#host.forget(this.name);
    this.#step({ type: "end", error });
  }

  #ask(op: string, query: object): Promise<Ok> {
    return this.#host.ask(membersOf(op, this.name, query), `the question for the ${op} of ${this.name}`);
  }
}

function membersOf(op: string, channel: string, rest: object): string {
  return JSON.stringify({ op, channel, ...rest }).slice(1, -1);
}

function jsonOf(data: Json): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(data);
  } catch {}
  if (text === undefined) {
    throw new EverwireError("bad-data", "the data was not published, since JSON cannot hold it; give plain values, or bytes");
  }
  return `"data":${text}`;
}

function toEntry(event: EntryEvent): Entry {
  const data = event.data64 === undefined ? (event.data ?? null) : Uint8Array.from(atob(event.data64), (byte) => byte.charCodeAt(0));
  return { offset: event.offset, time: event.time, event: event.event ?? null, data };
}

function toBase64(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

function memberOf({ user, info, count }: MemberEvent): Member {
  return { user, ...(info !== undefined && { info }), ...(count !== undefined && { count }) };
}
