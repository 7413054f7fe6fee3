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
  #outcome;
  /** The channel's media type, if it is text. */
  #textType = null;

  /** `outcome` is called with a sentence for people when a publish fails, and an empty one when one succeeds. */
  constructor(channel, log, outcome) {
    this.#channel = channel;
    this.#log = log;
    this.#outcome = outcome;
  }

  /**
   * Publishes `{"text": …}`, stamped so that each wire can tell how late it is; or the bare text, without a
   * stamp, where the channel turns out to hold text.
   */
  publishText(text) {
    return this.#enqueue(() => {
      if (this.#textType) return { type: this.#textType, body: text, entries: [text] };
      const data = { text, sent: this.#stamp() };
      return { type: 'application/json', body: JSON.stringify(data), entries: [data] };
    });
  }

  /** Publishes JSON as it was typed. One array level is a batch: each element is an entry. */
  publishJson(text) {
    const data = JSON.parse(text);
    const entries = Array.isArray(data) ? data : [data];
    return this.#enqueue(() => ({ type: 'application/json', body: text, entries }));
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
    this.#line = this.#line.then(() => this.#post(compose)).then(
      () => this.#outcome(''),
      (error) => {
        this.#outcome(`not published: ${error.message}`);
        // Whatever is wrong, it is not mended by asking fifty times a second.
        return new Promise((resolve) => setTimeout(resolve, FAILURE_PAUSE_MS));
      },
    ).finally(() => (this.#waiting -= 1));
    return this.#line;
  }

  async #post(compose) {
    const { type, body, entries } = compose();
    const headers = { 'Content-Type': type };
    const response = await fetch(this.#channel.url(), { method: 'POST', headers, body }).catch(() => {
      throw new Error('the server cannot be reached');
    });
    if (response.ok) {
      this.published += entries.length;
      this.#log.learn(response.headers.get('Stream-Next-Offset'), entries.at(-1));
      return;
    }
    const problem = await response.json().catch(() => ({}));
    if (problem.channel?.startsWith('text/') && !this.#textType) {
      this.#textType = problem.channel;
      return this.#post(compose);
    }
    throw new Error(problem.detail ?? problem.title ?? `the server answered ${response.status}`);
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
const FAILURE_PAUSE_MS = 500;
