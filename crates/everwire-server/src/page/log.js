/**
 * What this page knows of the channel's log.
 *
 *     publish answers ─┐
 *     WebSocket ───────┼─▶ learn(offset, data) ─▶ │ 1 │ 2 │ 3 │ 4 │ …   sorted by offset
 *     event stream ────┤
 *     ndjson ──────────┘
 *
 * Offsets are opaque: all we may know of them is that they sort in log order. The numbers shown to people are
 * therefore ours: an entry's place among those this page has learned of since it began to watch.
 *
 * No single wire is trusted as the truth. Whatever any of them, or the answer to a publish, says exists is
 * from then on owed by every other; that is what makes "0 lost" a finding and not a hope.
 */
export class Log {
  #entries = [];
  #trimmed = 0;
  #heard = '';
  #learnListeners = new Set();
  #nameListeners = new Set();
  #heardListeners = new Set();

  /** Records that the entry at `offset` exists, and returns it: the same object each time. */
  learn(offset, data, event) {
    const at = this.#countUpTo(offset);
    const known = this.#entries[at - 1];
    if (known?.offset === offset) {
      // The polls tell no names: who hears of an entry from one of them first learns its name later.
      if (event !== undefined && known.event === undefined) {
        known.event = event;
        for (const listener of this.#nameListeners) listener(known);
      }
      return known;
    }

    const entry = { offset, data, event, text: JSON.stringify(data), receivers: new Set() };
    this.#entries.splice(at, 0, entry);
    for (const listener of this.#learnListeners) listener(entry);
    if (event !== undefined) for (const listener of this.#nameListeners) listener(entry);
    return entry;
  }

  /** A wire that names every offset has passed this one: nothing before it is still to be learned. */
  heardUpTo(offset) {
    if (offset <= this.#heard) return;
    this.#heard = offset;
    for (const listener of this.#heardListeners) listener();
  }

  hasHeard(offset) {
    return offset <= this.#heard;
  }

  /** Calls `listener` with every entry learned from now on. */
  onLearn(listener) {
    this.#learnListeners.add(listener);
  }

  /** Calls `listener` with every entry whose name is learned from now on, with the entry or later. */
  onName(listener) {
    this.#nameListeners.add(listener);
  }

  /** Calls `listener` whenever more of the log is known to be complete. */
  onHeard(listener) {
    this.#heardListeners.add(listener);
  }

  /** How many entries lie at or before `offset`: the number shown for it. */
  numberOf(offset) {
    return this.#trimmed + this.#countUpTo(offset);
  }

  /** The entry with that number, or undefined. */
  entry(number) {
    return this.#entries[number - this.#trimmed - 1];
  }

  /** The offset of the newest known entry before `offset`; less than any offset if there is none. */
  before(offset) {
    return this.#entries[this.#countUpTo(offset) - 2]?.offset ?? '';
  }

  /** The entries after one offset, up to and including another. */
  between(after, upTo) {
    return this.#entries.slice(this.#countUpTo(after), this.#countUpTo(upTo));
  }

  /** Forgets what every reader has passed, down to a number kept for show. */
  trim(passedByAll, keep = KEPT) {
    const spare = Math.min(this.#countUpTo(passedByAll), this.#entries.length - keep);
    // In blocks, so that the array is not moved for each entry.
    if (spare < keep) return;
    this.#entries.splice(0, spare);
    this.#trimmed += spare;
  }

  get length() {
    return this.#trimmed + this.#entries.length;
  }

  /** The last known offset, or null. */
  get tail() {
    return this.#entries.at(-1)?.offset ?? null;
  }

  #countUpTo(offset) {
    let low = 0;
    let high = this.#entries.length;
    // Nearly every question is about the tail.
    if (high > 0 && this.#entries[high - 1].offset <= offset) return high;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#entries[middle].offset <= offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Entries kept after every wire has passed them: what the widest strip can show. */
const KEPT = 2000;
