/** One `for await` over a channel: entries wait here until the loop takes them. */
import type { EverwireError } from "./error.js";

type Result<Entry> = IteratorResult<Entry, undefined>;

/** Reads until `end`; `onTaken` is called when an entry was taken, and `onLeft` when the loop was left before the end. */
export class Reader<Entry> implements AsyncIterator<Entry, undefined> {
  /** The entries that wait, each with the cursor before it. */
  waiting: { readonly entry: Entry; readonly before: string | null }[] = [];
  #takers: ((result: Result<Entry> | Promise<Result<Entry>>) => void)[] = [];
  #ended = false;
  #error: EverwireError | null = null;

  constructor(
    readonly onTaken: () => void,
    readonly onLeft: () => void,
  ) {}

  push(entry: Entry, before: string | null): void {
    const taker = this.#takers.shift();
    if (taker) taker({ done: false, value: entry });
    else this.waiting.push({ entry, before });
  }

  /** Nothing follows what waits. */
  end(error: EverwireError | null): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    for (const taker of this.#takers.splice(0)) taker(this.next());
  }

  async next(): Promise<Result<Entry>> {
    const first = this.waiting.shift();
    if (first) {
      this.onTaken();
      return { done: false, value: first.entry };
    }
    if (!this.#ended) return new Promise((resolve) => this.#takers.push(resolve));
    const error = this.#error;
    // The error ends the loop once; whoever asks further gets the end.
    this.#error = null;
    if (error) throw error;
    return { done: true, value: undefined };
  }

  return(): Promise<Result<Entry>> {
    if (!this.#ended) this.onLeft();
    this.waiting = [];
    this.end(null);
    return this.next();
  }
}
