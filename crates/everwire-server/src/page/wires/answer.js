import { requestHeadBytes, responseHeadBytes } from '../heads.js';

/**
 * Asks once for what follows `cursor`, and tells `sink` what came: long poll and polling are this in a loop.
 *
 * Returns the response, and the cursor for the next request.
 */
export async function ask(url, cursor, sink, { signal, headers = {} }) {
  sink.meter.request(requestHeadBytes('GET', url, headers));
  // Each request is to be seen on the wire; a browser's cache would answer some of them itself.
  const response = await fetch(url, { headers, signal, cache: 'no-store' });
  const body = new Uint8Array(await response.arrayBuffer());
  sink.meter.head(responseHeadBytes(response));
  sink.meter.body(body.length);

  if (response.status === 410) {
    const { oldest } = JSON.parse(utf8.decode(body));
    sink.gap(oldest);
    return { response, cursor: oldest };
  }
  // Nobody has written to the channel yet.
  if (response.status === 404) return { response, cursor };
  if (response.status >= 400) throw new Error(`the server answered ${response.status}`);

  const next = response.headers.get('Stream-Next-Offset') ?? cursor;
  if (response.status === 200 && body.length > 0) tell(utf8.decode(body), next, response, sink);
  if (response.headers.get('Stream-Closed') === 'true') sink.closed();
  return { response, cursor: next };
}

/** A JSON channel answers with an array. Any other answers with its entries run together. */
function tell(text, next, response, sink) {
  const isJson = response.headers.get('Content-Type')?.startsWith('application/json');
  if (!isJson) return sink.run(next, text);
  const payloads = JSON.parse(text);
  if (payloads.length > 0) sink.range(next, payloads);
}

const utf8 = new TextDecoder();
