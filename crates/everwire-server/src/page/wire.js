import { Ledger } from './ledger.js';
import { Meter, clock } from './meter.js';

/**
 * One wire: a cursor over the log, in its own framing.
 *
 *                    ┌──────────── cut ────────────┐
 *     connecting ──▶ live ──▶ closed               ▼
 *         │           ▲ │                         cut
 *         │           │ └─ failed ─┐               │
 *         └─ failed ─▶└─ resuming ◀┴── resume ─────┘
 *
 * The framings (`wires/…`) only know how to read from a cursor: `open(channel, cursor, sink)`, which returns
 * a function that closes. When to open, what to do with what comes and where to go on is the same for all,
 * and is here. Resuming is over when the wire has reached where the log ended at that moment.
 */
export class Wire {
  state = { name: 'connecting' };
  meter = new Meter();
  cuts = 0;
  resumes = 0;
  /** What the last resuming brought: `{ entries, lost, doubled, gaps }`, or null. */
  lastResume = null;
  /** The last entries, newest first: `{ offset, before, data, late, caughtUp }`, the `before`-th before `offset`. */
  recent = [];

  #channel;
  #eventNames = new Set();
  #log;
  #age;
  #changed;
  #sink = null;
  #close = () => {};
  #retry;
  #failures = 0;

  /** `age(data, now)` tells how late an entry of this page is; `changed(wire)` is called after each change. */
  constructor(framing, { channel, log, start, age, changed }) {
    this.framing = framing;
    this.ledger = new Ledger(log, start);
    this.#channel = channel;
    this.#log = log;
    this.#age = age;
    this.#changed = changed;
    this.#open();
  }

  /** Whether it has a connection, or is on its way to one. */
  get isOpen() {
    return this.state.name !== 'cut' && this.state.name !== 'closed';
  }

  /** Closes the connection, as a lost network would. The cursor stays. */
  cut(why) {
    if (!this.isOpen) return;
    this.cuts += 1;
    this.#hangUp();
    this.#enter({ name: 'cut', why });
  }

  /** Opens a new connection where the cursor stands. */
  resume() {
    if (this.state.name === 'cut') this.#startResuming();
  }

  /** Ends the wire for good: the page goes to another channel. */
  end() {
    this.#hangUp();
  }

  /**
   * An entry with this event name exists. An EventSource drops events whose name nobody listens for, so where
   * this one went by unheard, the wire reads again from before it.
   */
  listenFor(name, offset) {
    if (!this.framing.hearsByName || this.#eventNames.has(name)) return;
    this.#eventNames.add(name);
    if (this.ledger.hasPassed(offset)) this.ledger.missed(offset);
    if (!this.isOpen) return;
    this.#hangUp();
    this.#open();
  }

  #open() {
    this.#close = this.framing.open(this.#channel, this.ledger.from, this.#newSink());
  }

  /** What one connection talks to; after it was hung up, nothing it still says is heard. */
  #newSink() {
    const sink = {
      meter: this.meter,
      eventNames: this.#eventNames,
      opened: () => heard(() => this.#onOpened()),
      entry: (offset, data, event) => heard(() => this.#onEntry(offset, data, event)),
      range: (offset, payloads) => heard(() => this.#onRange(offset, payloads)),
      run: (offset, text) => heard(() => this.#onRun(offset, text)),
      gap: (oldest) => heard(() => this.#onGap(oldest)),
      closed: () => heard(() => this.#onClosed()),
      failed: (why, afterMs) => heard(() => this.#onFailed(why, afterMs)),
    };
    const heard = (react) => {
      if (this.#sink !== sink) return;
      react();
      this.#changed(this);
    };
    return (this.#sink = sink);
  }

  #onOpened() {
    this.#failures = 0;
    if (this.state.name === 'connecting') this.#enter({ name: 'live' });
    if (this.state.name === 'resuming') this.#aim(this.state);
  }

  /** Finds out where the log ends, which is where resuming does. */
  async #aim(resuming) {
    const target = await this.#channel.tail().catch(() => this.#log.tail);
    resuming.target = target ?? this.ledger.cursor;
    this.#checkArrival();
    this.#changed(this);
  }

  #onEntry(offset, data, event) {
    const late = this.#measure(data, clock());
    if (this.ledger.receive(offset, data, event)) this.#show(offset, [data], late);
    this.#checkArrival();
  }

  #onRange(offset, payloads) {
    const now = clock();
    const late = payloads.map((data) => this.#measure(data, now)).at(-1);
    this.ledger.receiveRange(offset, payloads);
    this.#show(offset, payloads, late);
    this.#checkArrival();
  }

  #onRun(offset, text) {
    this.ledger.receiveRun(offset, text);
    this.#show(offset, [text], null);
    this.#checkArrival();
  }

  #onGap(oldest) {
    this.ledger.skipTo(oldest);
    // What is left of the log may end where the gap does.
    this.#checkArrival();
  }

  #onClosed() {
    this.#checkArrival();
    this.#hangUp();
    this.#enter({ name: 'closed' });
  }

  #onFailed(why, afterMs) {
    this.#hangUp();
    this.#failures += 1;
    // Full jitter: a thousand pages that lost the same server do not come back in the same moment.
    const wait = afterMs ?? Math.random() * Math.min(RETRY_MS_MAX, RETRY_MS * 2 ** this.#failures);
    if (this.state.name === 'live') this.#enter(this.#resuming());
    this.state.why = why;
    this.#retry = setTimeout(() => this.#open(), wait);
  }

  #startResuming() {
    this.#enter(this.#resuming());
    this.#open();
  }

  #resuming() {
    const { received, lost, doubled, gaps } = this.ledger;
    return { name: 'resuming', target: null, before: { received, lost, doubled, gaps } };
  }

  #checkArrival() {
    const { name, target, before } = this.state;
    const { cursor, unchecked, received, lost, doubled, gaps } = this.ledger;
    if (name !== 'resuming' || target === null || cursor < target || unchecked > 0) return;
    this.resumes += 1;
    this.lastResume = {
      entries: received - before.received,
      lost: lost - before.lost,
      doubled: doubled - before.doubled,
      gaps: gaps - before.gaps,
    };
    this.#enter({ name: 'live' });
  }

  /** How late, if this page published it. Entries caught up on waited for the reader, not for the server. */
  #measure(data, now) {
    const late = this.#age(data, now);
    if (late !== null && this.state.name === 'live') this.meter.latency(late);
    return late;
  }

  #show(offset, payloads, late) {
    const caughtUp = this.state.name === 'resuming';
    const shown = payloads.slice(-RECENT_KEPT).toReversed();
    // `before` counts back from the offset that was named: its number may only be learned later.
    const fresh = shown.map((data, before) => ({ offset, before, data, late: before ? null : late, caughtUp }));
    this.recent = [...fresh, ...this.recent].slice(0, RECENT_KEPT);
  }

  #hangUp() {
    this.#sink = null;
    clearTimeout(this.#retry);
    this.#close();
    this.#close = () => {};
  }

  #enter(state) {
    this.state = state;
    this.#changed(this);
  }
}

const RECENT_KEPT = 5;
const RETRY_MS = 250;
const RETRY_MS_MAX = 8000;
