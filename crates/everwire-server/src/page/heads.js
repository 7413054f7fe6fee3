/**
 * How many bytes the heads take, as HTTP/1.1 writes them.
 *
 * A page is told the fields of a response that it fetched, so that head is added up as it was sent. It is not
 * told what the browser puts into a request, nor any head of an EventSource or a WebSocket: those are
 * estimates, measured once against this server with Chromium and good to a few per cent.
 */

/** The request line, the fields that the page sets or knows, and a fixed share for what the browser adds. */
export function requestHeadBytes(method, url, fields = {}) {
  const { pathname, search, host } = new URL(url);
  const known = { Host: host, 'User-Agent': navigator.userAgent, Accept: '*/*', ...fields };
  return lineBytes(`${method} ${pathname}${search} HTTP/1.1`) + fieldBytes(Object.entries(known)) + BROWSER_FIELDS;
}

/** The status line and the fields of a response to `fetch`. */
export function responseHeadBytes({ status, statusText, headers }) {
  return lineBytes(`HTTP/1.1 ${status} ${statusText}`) + fieldBytes(headers) + CRLF;
}

/** The response head of an event stream, which an EventSource does not show. */
export const EVENT_STREAM_HEAD = 288;

/** The two heads of a WebSocket's opening handshake (RFC 6455, section 1.3). */
export function handshakeBytes(url) {
  return requestHeadBytes('GET', url) + SWITCHING_PROTOCOLS;
}

function fieldBytes(fields) {
  let bytes = 0;
  for (const [name, value] of fields) bytes += lineBytes(`${name}: ${value}`);
  return bytes;
}

function lineBytes(line) {
  return line.length + CRLF;
}

const CRLF = 2;
/** The empty line, Connection, Cache-Control, Pragma, Accept-*, the client hints and Sec-Fetch-*. */
const BROWSER_FIELDS = 321;
/** The server's half, and by how much the browser's outweighs that of a plain request. */
const SWITCHING_PROTOCOLS = 348 + 34;
