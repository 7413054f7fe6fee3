/**
 * Commands that have to be answered once: publications, and questions about a channel. They wait here while the line is
 * down, and are sent again, unchanged, when it was lost before the answer. A publication carries a key, by which the
 * server knows a repeat.
 */
import { backoffMs } from "./backoff.js";
import { EverwireError } from "./error.js";
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
  /** On its way on the present line. */
  sent: boolean;
  /** On its way at some time, so that it may have been carried out. */
  tried: boolean;
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
    if (this.#items.size >= queueMax || this.#chars + members.length > queueCharsMax) {
      const message = `${what} was not sent, since ${this.#items.size} wait already; await some, or raise queueMax or queueCharsMax`;
      return Promise.reject(new EverwireError("queue-full", message));
    }
    return new Promise((resolve, reject) => {
      this.#items.add({ members, what, deadline: this.#environment.now() + queueMs, resolve, reject, sent: false, tried: false, attempt: 0 });
      this.#chars += members.length;
    });
  }

  /** Sends what waits, in order, as far as the window allows. */
  flush(send: Send): void {
    if (this.#environment.now() < this.#notBefore) return;
    let inFlight = 0;
    for (const item of this.#items) if (item.sent) inFlight += 1;
    for (const item of this.#items) {
      if (item.sent) continue;
      if (inFlight >= WINDOW) return;
      inFlight += 1;
      item.sent = item.tried = true;
      send(item.members, (reply) => this.#onReply(item, reply));
    }
  }

  /** The line was lost: what has no answer goes out again on the next. */
  suspend(): void {
    for (const item of this.#items) item.sent = false;
  }

  /** The server refused to read a message for its size: that was the longest one on its way. */
  dropLongest(): void {
    let longest: Item | null = null;
    for (const item of this.#items) if (item.sent && item.members.length > (longest?.members.length ?? 0)) longest = item;
    if (longest === null) return;
    this.#remove(longest);
    longest.reject(new EverwireError("too-large", `${longest.what} is larger than the server takes; publish it in parts`));
  }

  /** Gives up what waited too long. */
  expire(): void {
    const now = this.#environment.now();
    for (const item of this.#items) {
      if (now < item.deadline) continue;
      this.#remove(item);
      const outcome = item.tried ? "may have been carried out; read the channel to know" : "was never sent; try again";
      item.reject(new EverwireError("timed-out", `${item.what} was not answered in time and ${outcome}`));
    }
  }

  /** The line is over. */
  fail(error: EverwireError): void {
    for (const item of this.#items) {
      this.#remove(item);
      item.reject(error);
    }
  }

  /** When `flush` or `expire` has something to do because of time alone. */
  wakeAt(): number {
    const at = this.#notBefore > this.#environment.now() ? this.#notBefore : Infinity;
    // In order of their deadlines, so the first is the next.
    for (const item of this.#items) return Math.min(at, item.deadline);
    return at;
  }

  #onReply(item: Item, reply: Reply): void {
    if (!this.#items.has(item)) return;
    if ("ok" in reply) {
      this.#remove(item);
      item.resolve(reply.ok);
      return;
    }
    if (reply.error.retry !== true) {
      this.#remove(item);
      item.reject(EverwireError.refused(item.what, reply.error));
      return;
    }
    item.sent = false;
    const { backoffMs: base, backoffMaxMs } = this.#settings;
    const jitter = backoffMs(this.#environment.random(), item.attempt, base, backoffMaxMs);
    this.#notBefore = this.#environment.now() + (reply.error.after_ms ?? 0) + jitter;
    item.attempt += 1;
  }

  #remove(item: Item): void {
    if (this.#items.delete(item)) this.#chars -= item.members.length;
  }
}

/** Commands on their way at once: enough to fill a long path, few enough to be repeated quickly. */
const WINDOW = 64;
