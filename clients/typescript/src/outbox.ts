/**
 * Commands that have to be answered once: publications, and questions about a channel. They wait here while the line is
 * down, and are sent again, unchanged, when it was lost before the answer. A publication carries a key, by which the
 * server knows a repeat.
 */
import { backoffMs } from "./backoff.js";
import { type ErrorCode, EverwireError, refused } from "./error.js";
import type { Ok, Reply } from "./message.js";
import type { Environment, Settings } from "./settings.js";

interface Item {
  /** The members of the command except `id`, as JSON. They never change: the server refuses a key with other content. */
  readonly members: string;
  /** What it is, for messages. */
  readonly what: string;
  readonly deadline: number;
  readonly resolve: (ok: Ok) => void;
  readonly reject: (error: EverwireError) => void;
  /** Whether it is on its way on the present line; `null` if it never was on any. */
  sent: boolean | null;
  attempt: number;
}

/** Sends a command, and calls back with its reply, unless the line is lost before. */
export type Send = (members: string, onReply: (reply: Reply) => void) => void;

export class Outbox {
  readonly #items = new Set<Item>();
  readonly #settings: Settings;
  readonly #environment: Pick<Environment, "now" | "random">;
  #chars = 0;
  #notBefore = 0;

  constructor(settings: Settings, environment: Pick<Environment, "now" | "random">) {
    this.#settings = settings;
    this.#environment = environment;
  }

  /** Puts a command in; the promise settles with its reply, or with why there will be none. */
  add(members: string, what: string): Promise<Ok> {
    const { queueMax, queueCharsMax, queueMs } = this.#settings;
    return new Promise((resolve, reject) => {
      const item: Item = { members, what, deadline: this.#environment.now() + queueMs, resolve, reject, sent: null, attempt: 0 };
      if (members.length > queueCharsMax) {
        return this.#fail(item, "too-large", TOO_LARGE);
      }
      if (this.#items.size >= queueMax || this.#chars + members.length > queueCharsMax) {
        return this.#fail(item, "queue-full", "was not sent, since too much waits; await some first");
      }
      this.#items.add(item);
      this.#chars += members.length;
    });
  }

  /** Sends what waits, in order, as far as the window allows. */
  flush(send: Send): void {
    if (this.#environment.now() < this.#notBefore) return;
    let room = WINDOW;
    for (const item of this.#items) {
      if (room-- === 0) return;
      if (item.sent) continue;
      item.sent = true;
      send(item.members, (reply) => this.#onReply(item, reply));
    }
  }

  /** The line was lost: what has no answer goes out again on the next. */
  suspend(): void {
    for (const item of this.#items) item.sent &&= false;
  }

  /** The server refused to read a message for its size: that was the longest one on its way. */
  dropLongest(): void {
    const [longest] = [...this.#items].filter(({ sent }) => sent).sort((a, b) => b.members.length - a.members.length);
    if (longest) this.#fail(longest, "too-large", TOO_LARGE);
  }

  /** Gives up what waited too long. */
  expire(): void {
    const now = this.#environment.now();
    for (const item of this.#items) {
      if (now < item.deadline) return;
      const outcome = item.sent === null ? "was never sent; try again" : "may have been carried out; read the channel to know";
      this.#fail(item, "timed-out", `was not answered in time and ${outcome}`);
    }
  }

  /** The line is over. */
  end(error: EverwireError): void {
    for (const item of this.#items) item.reject(error);
    this.#items.clear();
  }

  /** When `flush` or `expire` has something to do because of time alone. */
  get wakeAt(): number {
    const [first] = this.#items;
    // In order of their deadlines, so the first is the next.
    return first ? Math.min(first.deadline, this.#notBefore > this.#environment.now() ? this.#notBefore : Infinity) : Infinity;
  }

  #onReply(item: Item, reply: Reply): void {
    if (!this.#items.has(item)) return;
    if ("error" in reply && reply.error.retry) {
      item.sent = false;
      const { backoffMs: base, backoffMaxMs } = this.#settings;
      const { now, random } = this.#environment;
      this.#notBefore = now() + (reply.error.after_ms ?? 0) + backoffMs(random(), item.attempt++, base, backoffMaxMs);
      return;
    }
    this.#remove(item);
    if ("ok" in reply) item.resolve(reply.ok);
    else item.reject(refused(item.what, reply.error));
  }

  #fail(item: Item, code: ErrorCode, why: string): void {
    this.#remove(item);
    item.reject(new EverwireError(code, `${item.what} ${why}`));
  }

  #remove(item: Item): void {
    if (this.#items.delete(item)) this.#chars -= item.members.length;
  }
}

/** The server's limit is a setting of its own, and ours is that of servers by default. */
const TOO_LARGE = "is too large; publish it in parts";

/** Commands on their way at once: enough to fill a long path, few enough to be repeated quickly. */
const WINDOW = 64;
