/** A channel as a program sees it: read it, publish to it, know who is there. */
import { backoffMs } from "./backoff.js";
import { Emitter, type Off } from "./emitter.js";
import { EverwireError, refused } from "./error.js";
import type { ChannelMessage, EntryMessage, Json, Ok, PresenceAnswer, Reply } from "./message.js";
import { type Member, Presence } from "./presence.js";
import { Reader } from "./reader.js";
import type { Environment, Settings, WireName } from "./settings.js";
import { Subscription } from "./subscription.js";

/** What an entry can hold: JSON, the string of a text channel, or bytes. */
export type Content = Json | Uint8Array;

/** Bytes in all the ways in which a program may hold them. */
export type Bytes = ArrayBuffer | ArrayBufferView | Blob;

/** One entry of a channel. */
export interface Entry<Data = Content> {
  /** The position after it: where to resume. Offsets of one channel sort as strings. */
  readonly offset: string;
  /** When it was appended, in Unix milliseconds. */
  readonly time: number;
  /** The event's name, or `null`. */
  readonly event: string | null;
  /** The content. A program that names its type has to trust those who publish. */
  readonly data: Data;
}

/** Entries that nobody can have any more: those between the last one delivered and `oldest`. */
export interface Gap {
  /** The offset before the oldest entry kept; reading goes on after it. */
  readonly oldest: string;
  /** The offset after the newest entry. */
  readonly newest: string;
}

/** What `line.channel` takes. */
export interface ChannelOptions {
  /** Where to start: an offset from before, `"-1"` for the oldest entry kept, `"now"` for what is new. Default `"now"`. */
  readonly offset?: string;
  /** Start so many entries before the end, instead of at `offset`. */
  readonly last?: number;
  /** Whether entries that this line's publisher appended come too. Default `true`. */
  readonly echo?: boolean;
  /** Know who is there while the channel is read, and be there too. Default: no. */
  readonly presence?: true | PresenceOptions;
}

/** How to be present. */
export interface PresenceOptions {
  /** A name, shown with `~` before it, where no credential names the user. Default: a random one. */
  readonly user?: string;
  /** What others are told of us: any JSON of at most 1,024 bytes, if the server's limit is the default. */
  readonly info?: Json;
  /** Whether to be a member; else only watch. Default `true`. */
  readonly join?: boolean;
}

/** What `channel.publish` takes beside the data. */
export interface PublishOptions {
  /** The event's name, at most 64 bytes. */
  readonly event?: string;
  /** The idempotency key, at most 255 bytes. Default: a new one, which is what most want. */
  readonly key?: string;
}

/** What `channel.history` takes: entries after `offset`, or the `last` so many; neither: from the oldest kept. */
export interface HistoryQuery {
  /** Read after this offset; `"-1"` for the oldest entry kept. */
  readonly offset?: string;
  /** Start so many entries before the end. */
  readonly last?: number;
  /** At most so many entries, from 1 to 1,000. Default 100. */
  readonly limit?: number;
}

/** A page of entries. */
export interface History<Data = Content> {
  /** The entries, oldest first. */
  readonly entries: readonly Entry<Data>[];
  /** Where the next page starts. */
  readonly offset: string;
  /** Whether this page ends at the newest entry. */
  readonly upToDate: boolean;
}

/** Who was there when it was asked. */
export interface Present {
  /** How many members there are. */
  readonly total: number;
  /** The first of them by name, as many as the server lists (1,000 by default); `count` is how many sessions each has. */
  readonly members: readonly (Member & { readonly count: number })[];
}

/** What a channel tells its listeners. Those of `entry`, `join`, `leave` and `presence` make it be read. */
export interface ChannelEvents<Data = Content> {
  /** An entry came. */
  entry: Entry<Data>;
  /** Some entries cannot be had; reading goes on after `oldest`. It may come before entries that still wait in a loop. */
  gap: Gap;
  /** Nothing follows. `null` if the channel or the line was closed, else why it cannot be read. */
  end: EverwireError | null;
  /** Somebody came, or is there with another `info` than before. */
  join: Member;
  /** Somebody's last session is gone. */
  leave: Member;
  /** Who is there, by user: after each change, and when it was asked anew since changes were missed. */
  presence: ReadonlyMap<string, Member>;
}

/** The line, as a channel needs it. */
export interface ChannelHost {
  readonly settings: Settings;
  readonly environment: Environment;
  /** The wire in use; `null` while none is open. */
  wire(): WireName | null;
  /** Sends a command on the open line; if that is lost before the reply, nothing more comes of it. */
  command(members: string, onReply: (reply: Reply) => void): void;
  /** Sends a command that has to be answered once. */
  ask(members: string, what: string): Promise<Ok>;
  newKey(): string;
  forget(name: string): void;
}

/**
 * A channel on a line; made by `line.channel`. Reading starts with the first loop or listener and ends with the last.
 * `Data` is what its entries hold.
 */
export class Channel<Data = Content> extends Emitter<ChannelEvents<Data>> implements AsyncIterable<Entry<Data>> {
  readonly #host: ChannelHost;
  readonly #options: ChannelOptions;
  readonly #readers = new Set<Reader<Entry<Data>>>();
  readonly #subscription = new Subscription();
  readonly #presence = new Presence();
  /** A reader has more waiting than it should. */
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
    // Told here, where the mistake is, and not when the channel is first read.
    toJson(options);
    this.#host = host;
    this.#options = options;
  }

  /** The offset of the entry delivered last; `null` as long as there is none. Give it to another line to go on there. */
  get offset(): string | null {
    return this.#subscription.cursor;
  }

  /**
   * Who is there, by user; empty without the option `presence`. It changes by itself. Of more than the server lists
   * (1,000 by default), it has only those and who came since.
   */
  get members(): ReadonlyMap<string, Member> {
    return this.#presence.members;
  }

  /** Calls `listener` for each `name` from now on, which may make the channel be read. The function returned ends that. */
  override on<Name extends keyof ChannelEvents<Data>>(name: Name, listener: (value: ChannelEvents<Data>[Name]) => void): Off {
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
   * @throws {EverwireError} `refused` if the channel may not be read, or what ended the line
   */
  [Symbol.asyncIterator](): AsyncIterator<Entry<Data>, undefined> {
    const { state } = this.#subscription;
    const reader: Reader<Entry<Data>> = new Reader(
      () => this.#full && this.#judgeFullness(),
      () => {
        this.#readers.delete(reader);
        // With no other reader, what this one left waiting was seen by nobody.
        const [first] = reader.waiting;
        if (first && !this.#isWanted) this.#subscription.cursor = first.before;
        this.#judgeFullness();
      },
    );
    if (state.state === "ended") reader.end(state.error);
    else this.#readers.add(reader);
    this.#settle();
    return reader;
  }

  /**
   * Appends an entry, exactly once for as long as the server remembers keys: it is sent again with the same key when
   * the line is lost before the answer, and waits while there is no line. Publications of one line are sent in order.
   *
   * Bytes are what any kind of buffer or view holds, or a `Blob`, which is read first: what is published meanwhile goes
   * before it. All else has to be JSON. Members that are `undefined` are left out; a value that JSON would change
   * without a word (`Map`, `Set`, functions, `NaN`, `undefined` alone or in an array …) is refused.
   *
   * @returns the entry's offset
   * @throws {EverwireError} `refused`, `queue-full`, `timed-out`, `too-large`, `bad-data` or `closed`
   */
  async publish(data: Data | Bytes, options: PublishOptions = {}): Promise<string> {
    const { event, key = this.#host.newKey() } = options;
    // Only for a blob is waited, so that all else keeps its order.
    const blob = (data as Blob | null)?.arrayBuffer?.();
    const held = (blob ? await blob : data) as ArrayBufferView & ArrayBuffer;
    const isBytes = ArrayBuffer.isView(held) || (held as unknown) instanceof ArrayBuffer;
    const content = isBytes
      ? `"data64":"${toBase64(new Uint8Array(held.buffer ?? held, held.byteOffset, held.byteLength))}"`
      : `"data":${toJson(data)}`;
    const members = `${this.#command("publish", { event, key })},${content}`;
    return (await this.#host.ask(members, `a publication to ${this.name}`)).offset!;
  }

  /**
   * Reads entries that the channel holds, beside any loop or listener.
   *
   * @throws {EverwireError} as `publish` does
   */
  async history(query: HistoryQuery = {}): Promise<History<Data>> {
    const { entries = [], offset = "", up_to_date: upToDate = false } = await this.#ask("history", query);
    return { entries: entries.map((entry) => toEntry<Data>(entry)), offset, upToDate };
  }

  /**
   * Asks who is there, also without the option `presence`.
   *
   * @throws {EverwireError} as `publish` does
   */
  async who(): Promise<Present> {
    const { total = 0, members = [] } = await this.#ask("presence", {});
    return { total, members };
  }

  /** Ends all loops and stops reading. The line makes a new channel for this name when asked. */
  close(): void {
    this.#settle(false);
    this.onEnd(null);
  }

  /** @internal The line was opened, or may have become worth a try. */
  onOpen(): void {
    this.#settle();
  }

  /** @internal The line was lost. */
  onLost(): void {
    this.#subscription.lost();
  }

  /** @internal Nothing follows. */
  onEnd(error: EverwireError | null): void {
    if (!this.#subscription.end(error)) return;
    this.#host.forget(this.name);
    this.#cancelRetry?.();
    for (const reader of this.#readers) reader.end(error);
    this.#readers.clear();
    this.emit("end", error);
  }

  /** @internal An event of this channel came. */
  onMessage(message: ChannelMessage): void {
    const subscription = this.#subscription;
    const { cursor } = subscription;
    if (message.ev === "subscribed") return subscription.began(message.offset);
    if (!subscription.hears) return;
    switch (message.ev) {
      case "entry":
        if (subscription.entry(message.offset)) this.#deliver(toEntry(message), cursor);
        return;
      case "gap":
        if (message.presence) return this.#askPresence();
        subscription.cursor = message.oldest;
        return this.emit("gap", { oldest: message.oldest, newest: message.newest });
      case "closed":
        return this.onEnd(null);
      case "revoked":
        return this.onEnd(refused(`to let ${this.name} be read any longer`, { type: "revoked" }));
      case "join":
      case "leave": {
        const member = this.#presence.change(message);
        if (!member) return;
        this.emit(message.ev, member);
        this.emit("presence", this.members);
      }
    }
  }

  get #isWanted(): boolean {
    return this.#readers.size > 0 || READING.some((name) => this.listening(name) > 0);
  }

  #settle(wanted = this.#isWanted && !this.#full && !this.#cancelRetry): void {
    const { command, wire } = this.#host;
    switch (this.#subscription.settle(wanted, wire() !== null)) {
      case "subscribe":
        this.#presence.await();
        return command(this.#subscribeCommand(), (reply) => this.#onJoined(reply));
      case "unsubscribe":
        return command(this.#command("unsubscribe", {}), () => {
          this.#subscription.left();
          this.#settle();
        });
    }
  }

  #subscribeCommand(): string {
    const { offset, last, echo, presence } = this.#options;
    const { cursor } = this.#subscription;
    const start = cursor ? { offset: cursor } : { offset, last };
    const present = presence && { ...(presence as object), offset: this.#presence.offset || undefined };
    return this.#command("subscribe", { ...start, echo, presence: present });
  }

  #onJoined(reply: Reply): void {
    if ("ok" in reply) {
      this.#refusals = 0;
      // Elsewhere the reply comes by another way than what it lets begin, and `subscribed` says the same in its place.
      if (this.#host.wire() === "websocket") this.#subscription.began(reply.ok.offset);
      return this.#onPresence(reply.ok.presence);
    }
    const { error } = reply;
    if (!error.retry) return this.onEnd(refused(`to let ${this.name} be read`, error));
    const { settings, environment } = this.#host;
    const jitter = backoffMs(environment.random(), this.#refusals++, settings.backoffMs, settings.backoffMaxMs);
    this.#subscription.refused();
    this.#cancelRetry = environment.after((error.after_ms ?? 0) + jitter, () => {
      this.#cancelRetry = null;
      this.#settle();
    });
  }

  /** Changes were missed. */
  #askPresence(): void {
    this.#presence.await();
    this.#host.command(this.#command("presence", {}), (reply) => this.#onPresence("ok" in reply ? reply.ok : {}));
  }

  #onPresence(answer: PresenceAnswer = {}): void {
    const held = this.#presence.answer(answer);
    if (answer.members) this.emit("presence", this.members);
    for (const change of held) this.onMessage(change);
  }

  #deliver(entry: Entry<Data>, before: string | null): void {
    for (const reader of this.#readers) reader.push(entry, before);
    this.emit("entry", entry);
    if (!this.#full) this.#judgeFullness();
  }

  /** A full reader makes the channel be left, not the memory grow: the log keeps what it will read later. */
  #judgeFullness(): void {
    const most = this.#host.settings.readerEntriesMax;
    const longest = Math.max(0, ...[...this.#readers].map(({ waiting }) => waiting.length));
    this.#full = longest >= most || (this.#full && longest > most / 2);
    this.#settle();
  }

  #ask(op: string, query: object): Promise<Ok> {
    return this.#host.ask(this.#command(op, query), `the ${op} of ${this.name}`);
  }

  /** The members of a command but its id. */
  #command(op: string, rest: object): string {
    return JSON.stringify({ op, channel: this.name, ...rest }).slice(1, -1);
  }
}

/** Who listens for these makes a channel be read. */
const READING = ["entry", "join", "leave", "presence"] as const;

function toEntry<Data>({ offset, time, event = null!, data, data64 }: EntryMessage): Entry<Data> {
  const content = data64 === undefined ? data : Uint8Array.from(atob(data64), (byte) => byte.charCodeAt(0));
  return { offset, time, event, data: content as Data };
}

/** JSON that says all that the value does; throws where there is none. */
function toJson(data: unknown): string {
  try {
    const json = JSON.stringify(data, function (this: unknown, _, value: unknown) {
      const isHeld =
        value == null
          ? // A member that is undefined is left out, as everywhere.
            value === null || !Array.isArray(this)
          : typeof value === "number"
            ? isFinite(value)
            : / (Object|Array|String|Boolean)\]/.test(Object.prototype.toString.call(value));
      if (isHeld) return value;
      throw 0;
    });
    if (json) return json;
  } catch {}
  throw new EverwireError("bad-data", "JSON cannot hold the data; publish plain values, or bytes");
}

function toBase64(bytes: Uint8Array): string {
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}
