import { ask } from './answer.js';

/** A plain GET each second. What nothing has happened to answers 304, from the nearest cache that knows. */
export const polling = {
  id: 'polling',
  title: 'Polling',
  how: 'a plain, cacheable GET each second',

  open(channel, cursor, sink) {
    const stop = new AbortController();
    run(channel, cursor, sink, stop.signal).catch((error) => sink.failed(error.message));
    return () => stop.abort();
  },

  shell: (channel) => `curl -i '${channel.url({ last: 10 })}'`,
  script: (channel) =>
    `setInterval(async () => console.log(await (await fetch('${channel.url({ last: 10 })}')).text()), 1000)`,
};

async function run(channel, start, sink, signal) {
  let cursor = start;
  let etag = null;
  for (let first = true; !signal.aborted; first = false) {
    const headers = etag ? { 'If-None-Match': etag } : {};
    const answer = await ask(channel.url({ offset: cursor }), cursor, sink, { signal, headers });
    if (first) sink.opened();
    // An ETag belongs to one URL, and the URL names the cursor.
    etag = answer.cursor === cursor ? answer.response.headers.get('ETag') ?? etag : null;
    cursor = answer.cursor;
    // Told of a gap, there is something to read now.
    if (answer.response.status === 410) continue;
    await new Promise((resolve) => setTimeout(resolve, INTERVAL_MS));
  }
}

const INTERVAL_MS = 1000;
