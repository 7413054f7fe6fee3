/**
 * One wire's account: what it delivered, held against the log.
 *
 *     owed      entries of the log between the wire's start and its cursor
 *     ticked    those of them it delivered
 *     lost      owed − ticked, and no gap was told
 *     doubled   delivered again, or delivered though the log holds no such entry
 *
 * WebSocket, event stream and ndjson name each entry's offset. Long poll and polling answer with a range and
 * the payloads in it, so those answers wait until the log knows the range, and are then matched one by one.
 */
export class Ledger {
  received = 0;
  doubled = 0;
  disordered = 0;

  #log;
  #start;
  #owed = 0;
  #ticked = 0;
  #gaps = [];
  /** Answers whose range the log does not know yet, oldest first. */
  #waiting = [];
  /** Up to here deliveries have been held against the log; behind the cursor while answers wait. */
  #checkedTo;
  /** What comes again up to here was asked for again. */
  #againUpTo = '';
  /** From here it is asked for again, until nothing is missed any more. */
  #againFrom = null;

  /** Where the wire stands: the offset to read after. */
  cursor;

  constructor(log, start) {
    this.#log = log;
    this.cursor = start;
    this.#checkedTo = start;
    this.#start = start;
    log.onLearn((entry) => this.#onLearn(entry));
    log.onHeard(() => this.#settle());
  }

  /** The wire delivered one entry and named its offset. Tells whether that is further than it stood. */
  receive(offset, data, event) {
    const entry = this.#log.learn(offset, data, event);
    if (offset <= this.#againUpTo) {
      // Read again on purpose: only what was missed the first time counts.
      if (!entry.receivers.has(this)) {
        this.received += 1;
        this.#tick(entry);
      }
      if (this.lost === 0) this.#againFrom = null;
      return false;
    }
    this.received += 1;
    const further = offset > this.cursor;
    if (entry.receivers.has(this)) {
      this.doubled += 1;
    } else {
      this.#tick(entry);
      if (offset <= this.cursor) this.disordered += 1;
      else this.#advance(offset);
    }
    this.#log.heardUpTo(this.cursor);
    return further;
  }

  /** The wire missed the entry at `offset` and will read again from before it. */
  missed(offset) {
    if (this.cursor > this.#againUpTo) this.#againUpTo = this.cursor;
    const before = this.#log.before(offset);
    const from = before > this.#start ? before : this.#start;
    if (this.#againFrom === null || from < this.#againFrom) this.#againFrom = from;
  }

  /** Where the next connection reads from: the cursor, or further back while something missed has not come yet. */
  get from() {
    return this.#againFrom ?? this.cursor;
  }

  /** Whether the entry at `offset` is one that the wire went past. */
  hasPassed(offset) {
    return offset > this.#start && offset <= this.cursor;
  }

  /** The wire delivered all entries after its cursor up to `offset`, naming only that. */
  receiveRange(offset, payloads) {
    // An answer that names one entry's offset teaches the log; of several, only the last has a name.
    if (payloads.length === 1 && offset > this.cursor) this.#log.learn(offset, payloads[0]);
    this.#await(offset, payloads.length, (range) => this.#match(payloads, range));
  }

  /** The same in a channel that is not JSON: the entries come run together, and none can be told apart. */
  receiveRun(offset, text) {
    this.#await(offset, 1, (range) => {
      if (range.map(({ data }) => data).join('') !== text) return { entries: new Set(), disordered: 0, unknown: 1 };
      return { entries: new Set(range), disordered: 0, unknown: 0 };
    });
  }

  /** The server told that entries up to `oldest` are gone: they are missed openly, and so not owed. */
  skipTo(oldest) {
    this.#gaps.push({ after: this.cursor, oldest });
    if (oldest > this.cursor) this.cursor = this.#checkedTo = oldest;
  }

  get lost() {
    return this.#owed - this.#ticked;
  }

  get gaps() {
    return this.#gaps.length;
  }

  /** Entries delivered in a range that the log does not know yet. */
  get unchecked() {
    return this.#waiting.reduce((sum, answer) => sum + answer.count, 0);
  }

  get inOrder() {
    return this.disordered === 0;
  }

  #onLearn(entry) {
    // Another wire may show an entry that this one went past without delivering.
    const passed = entry.offset > this.#start && entry.offset <= this.#checkedTo;
    const told = this.#gaps.some((gap) => entry.offset > gap.after && entry.offset <= gap.oldest);
    if (passed && !told) this.#owed += 1;
    this.#settle();
  }

  /** Keeps an answer until `match` finds what it holds in the log's `range`. */
  #await(upTo, count, match) {
    this.received += count;
    this.#waiting.push({ after: this.cursor, upTo, count, match });
    if (upTo > this.cursor) this.cursor = upTo;
    this.#settle();
  }

  #settle() {
    while (this.#waiting.length > 0) {
      const { after, upTo, count, match } = this.#waiting[0];
      const { entries, disordered, unknown } = match(this.#log.between(after, upTo));
      // What does not match yet may be learned of yet, until another wire has named all up to there.
      if (unknown > 0 && !this.#log.hasHeard(upTo)) return;
      this.#waiting.shift();
      entries.forEach((entry) => this.#tick(entry));
      this.disordered += disordered;
      this.doubled += unknown;
      // Only now is it known how many entries a run was.
      this.received += entries.size + unknown - count;
      if (upTo > this.#checkedTo) this.#advance(upTo);
    }
  }

  /** Finds for each payload the entry that it is, at best the next one in the range. */
  #match(payloads, range) {
    const entries = new Set();
    let [next, disordered, unknown] = [0, 0, 0];
    for (const payload of payloads) {
      const text = JSON.stringify(payload);
      const same = (entry) => entry.text === text && !entries.has(entry) && !entry.receivers.has(this);
      const ahead = range.findIndex((entry, index) => index >= next && same(entry));
      const behind = ahead < 0 ? range.find(same) : undefined;
      if (ahead >= 0) {
        entries.add(range[ahead]);
        next = ahead + 1;
      } else if (behind) {
        entries.add(behind);
        disordered += 1;
      } else {
        unknown += 1;
      }
    }
    return { entries, disordered, unknown };
  }

  #tick(entry) {
    entry.receivers.add(this);
    this.#ticked += 1;
  }

  #advance(offset) {
    this.#owed += this.#log.between(this.#checkedTo, offset).length;
    this.#checkedTo = offset;
    if (offset > this.cursor) this.cursor = offset;
  }
}
