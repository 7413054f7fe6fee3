/** One `for await` over a channel: entries wait here until the loop takes them. */
import type { Entry } from "./channel.js";
import type { EverwireError } from "./error.js";

type Result = IteratorResult<Entry, undefined>;

/** Reads until `end`; `onTaken` is called when an entry was taken, and `onLeft` when the loop was left before the end. */
export class Reader implements AsyncIterator<Entry, undefined> {
  /** The entries that wait, each with the cursor before it. */
  waiting: { readonly entry: Entry; readonly before: string | null }[] = [];
  #takers: Taker[] = [];
  #end: { error: EverwireError | null } | null = null;

  constructor(
    readonly onTaken: () => void,
    readonly onLeft: (reader: Reader) => void,
  ) {}

  push(entry: Entry, before: string | null): void {
    const taker = this.#takers.shift();
    if (taker) taker.resolve({ done: false, value: entry });
    else this.waiting.push({ entry, before });
  }

  /** Nothing follows what waits. */
  end(error: EverwireError | null): void {
    this.#end ??= { error };
    for (const taker of this.#takers.splice(0)) this.#settle(taker);
  }

  next(): Promise<Result> {
    return new Promise((resolve, reject) => {
      const first = this.waiting.shift();
      if (first) {
        resolve({ done: false, value: first.entry });
        this.onTaken();
      } else if (this.#end) {
        this.#settle({ resolve, reject });
      } else {
        this.#takers.push({ resolve, reject });
      }
    });
  }

  return(): Promise<Result> {
    if (!this.#end) this.onLeft(this);
    this.waiting = [];
    this.end(null);
    return this.next();
  }

  #settle({ resolve, reject }: Taker): void {
    const error = this.#end?.error;
    // The error ends the loop once; whoever asks further gets the end.
    this.#end = { error: null };
    if (error) reject(error);
    else resolve({ done: true, value: undefined });
  }
}

interface Taker {
  readonly resolve: (result: Result) => void;
  readonly reject: (error: EverwireError) => void;
}
