import { clock } from './meter.js';

/**
 * Publishes with plain POSTs, one at a time.
 *
 * One at a time, because a browser opens six HTTP/1.1 connections to a host: three are held by event stream,
 * ndjson and long poll, one comes and goes with polling, and publishing is content with one.
 */
export class Publisher {
  published = 0;
  #channel;
  #log;
  #line = Promise.resolve();
  #waiting = 0;
  #times = new Set();
  #failed;

  /** `failed` is called with a sentence for people when the server refuses. */
  constructor(channel, log, failed) {
    this.#channel = channel;
    this.#log = log;
    this.#failed = failed;
  }

  /** Publishes `{"text": …}`, stamped so that each wire can tell how late it is. */
  publishText(text) {
    return this.#enqueue(() => {
      const data = { text, sent: this.#stamp() };
      return { body: JSON.stringify(data), entries: [data] };
    });
  }

  /** Publishes JSON as it was typed. One array level is a batch: each element is an entry. */
  publishJson(text) {
    const data = JSON.parse(text);
    return this.#enqueue(() => ({ body: text, entries: Array.isArray(data) ? data : [data] }));
  }

  /** Whether a publish waits for an earlier one: the server or the network is slower than we are. */
  get isBehind() {
    return this.#waiting > 1;
  }

  /** Milliseconds since this page published `data`, or null if it did not. */
  age(data, now) {
    return this.#times.has(data?.sent) ? now - data.sent : null;
  }

  #enqueue(compose) {
    this.#waiting += 1;
    const publishing = this.#line.then(() => this.#post(compose()));
    this.#line = publishing.catch(() => {}).then(() => (this.#waiting -= 1));
    return publishing.catch((error) => this.#failed(error.message));
  }

  async #post({ body, entries }) {
    const response = await fetch(this.#channel.url(), {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body,
    });
    if (!response.ok) {
      const problem = await response.json().catch(() => ({}));
      const reason = problem.detail ?? problem.title ?? response.statusText;
      throw new Error(`not published (${response.status}): ${reason}`);
    }
    this.published += entries.length;
    this.#log.learn(response.headers.get('Stream-Next-Offset'), entries.at(-1));
  }

  #stamp() {
    const sent = clock();
    this.#times.add(sent);
    if (this.#times.size > TIMES_KEPT) this.#times.delete(this.#times.values().next().value);
    return sent;
  }
}

/** More than a wire can be behind and still be measured. */
const TIMES_KEPT = 5000;
