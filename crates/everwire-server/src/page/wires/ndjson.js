import { requestHeadBytes, responseHeadBytes } from '../heads.js';

/** One response that never ends, a JSON object a line: for whatever can read a line. */
export const ndjson = {
  id: 'ndjson',
  title: 'ndjson',
  how: 'one response, pushed, a line an entry',
  holdsConnection: true,

  open(channel, cursor, sink) {
    const stop = new AbortController();
    read(channel.url({ offset: cursor }), sink, stop.signal).catch((error) => sink.failed(error.message));
    return () => stop.abort();
  },

  shell: (channel) => `curl -N -H 'Accept: application/x-ndjson' '${channel.url()}'`,
  script: (channel) =>
    `for await (const part of (await fetch('${channel.url({ live: 'ndjson' })}')).body` +
    `.pipeThrough(new TextDecoderStream())) console.log(part)`,
};

async function read(url, sink, signal) {
  const headers = { Accept: 'application/x-ndjson' };
  sink.meter.request(requestHeadBytes('GET', url, headers));
  const response = await fetch(url, { headers, signal, cache: 'no-store' });
  sink.meter.head(responseHeadBytes(response));
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  sink.opened();

  const lines = response.body.pipeThrough(counting(sink.meter)).pipeThrough(new TextDecoderStream());
  let unfinished = '';
  const reader = lines.getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error('the stream ended');
    const parts = (unfinished + value).split('\n');
    unfinished = parts.pop();
    for (const line of parts) onLine(JSON.parse(line), sink);
  }
}

function onLine(line, sink) {
  if (line.offset && 'data' in line) sink.entry(line.offset, line.data, line.event);
  else if (line.gap) sink.gap(line.gap.oldest);
  else if (line.closed) sink.closed();
  else if (line.drain) sink.failed('the server is going away', line.drain.after_ms);
  // An empty object is a heartbeat.
}

function counting(meter) {
  return new TransformStream({
    transform(chunk, controller) {
      meter.body(chunk.length);
      controller.enqueue(chunk);
    },
  });
}
