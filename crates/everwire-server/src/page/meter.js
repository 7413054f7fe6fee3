/**
 * What one wire costs: requests, bytes in both directions, and how late its entries are.
 *
 * Bodies and WebSocket frames are counted as they come. Heads are partly an estimate (`heads.js`), so they are
 * kept apart.
 */
export class Meter {
  requests = 0;
  bodyBytes = 0;
  headBytes = 0;
  #latencies = [];
  #next = 0;

  /** A request went out, with a head of about that many bytes. */
  request(headBytes) {
    this.requests += 1;
    this.headBytes += headBytes;
  }

  /** A response came, with a head of that many bytes. */
  head(bytes) {
    this.headBytes += bytes;
  }

  /** Bytes of a body, or of WebSocket frames, came. */
  body(bytes) {
    this.bodyBytes += bytes;
  }

  /** An entry came that many milliseconds after it was published. */
  latency(ms) {
    this.#latencies[this.#next] = ms;
    this.#next = (this.#next + 1) % LATENCIES_KEPT;
  }

  get bytes() {
    return this.bodyBytes + this.headBytes;
  }

  /** The latency, in milliseconds, that this share (0–1) of the last entries kept to; null before the first. */
  quantile(share) {
    if (this.#latencies.length === 0) return null;
    const sorted = this.#latencies.toSorted((a, b) => a - b);
    return sorted[Math.ceil(share * sorted.length) - 1];
  }
}

/** The clock of latencies: milliseconds since 1970, finer than `Date.now()` and never set back. */
export function clock() {
  return performance.timeOrigin + performance.now();
}

const LATENCIES_KEPT = 100;
