/**
 * How many bytes the heads take, which a page cannot see.
 *
 * A request's head is added up from what we know to be in it and a fixed share for what the browser adds.
 * A response's head is what Resource Timing tells (`transferSize` less the body); Chromium answers that with
 * a constant 300, so that no page can read lengths of other sites' cookies, and 300 is also our first guess.
 */

/** The request line, the fields the page sets, and those it knows a browser to send. */
export function requestHeadBytes(method, url, fields = {}) {
  const { pathname, search, host } = new URL(url);
  const line = `${method} ${pathname}${search} HTTP/1.1`;
  const known = { Host: host, 'User-Agent': navigator.userAgent, Referer: location.href, ...fields };
  const lines = [line, ...Object.entries(known).map(([name, value]) => `${name}: ${value}`), ''];
  return lines.reduce((sum, text) => sum + text.length + CRLF, 0) + BROWSER_FIELDS;
}

/** The two heads of a WebSocket's opening handshake (RFC 6455, section 1.3). */
export function handshakeBytes(url) {
  return requestHeadBytes('GET', url, { Origin: location.origin }) + SWITCHING_PROTOCOLS;
}

/** Calls `correct` with the difference once the browser tells the head of the response to `url`. */
export function correctResponseHead(url, correct) {
  if (!observer) return;
  awaited.set(url, correct);
  // An answer that never comes (a wire was cut) must not be awaited for ever.
  if (awaited.size > AWAITED_MAX) awaited.delete(awaited.keys().next().value);
}

export const RESPONSE_HEAD = 300;

const CRLF = 2;
/** Connection, the client hints, Accept-*, Sec-Fetch-*: as Chromium sends them. */
const BROWSER_FIELDS = 330;
/** `101 Switching Protocols` with Upgrade, Connection, Sec-WebSocket-Accept, -Protocol and -Extensions. */
const SWITCHING_PROTOCOLS = 230;
const AWAITED_MAX = 32;

const awaited = new Map();
const observer = globalThis.PerformanceObserver && new PerformanceObserver((list) => {
  for (const { name, transferSize, encodedBodySize } of list.getEntries()) {
    const correct = awaited.get(name);
    awaited.delete(name);
    // Zero: not told, or answered by a cache.
    if (correct && transferSize > 0) correct(transferSize - encodedBodySize - RESPONSE_HEAD);
  }
  performance.clearResourceTimings();
});
observer?.observe({ type: 'resource' });
