import { ask } from './answer.js';

/** A request that the server holds until there is something to say. Works through any proxy. */
export const longPoll = {
  id: 'long-poll',
  title: 'Long poll',
  how: 'a request parked until there is news',
  holdsConnection: true,

  open(channel, cursor, sink) {
    const stop = new AbortController();
    run(channel, cursor, sink, stop.signal).catch((error) => sink.failed(error.message));
    return () => stop.abort();
  },

  shell: (channel) => `curl -i '${channel.url({ offset: 'now', live: 'long-poll' })}'`,
  script: (channel) =>
    `console.log(await (await fetch('${channel.url({ offset: 'now', live: 'long-poll' })}')).text())`,
};

async function run(channel, start, sink, signal) {
  // A first, plain read is answered at once: a parked request could not tell that it arrived.
  let { cursor } = await ask(channel.url({ offset: start }), start, sink, { signal });
  sink.opened();
  // Moves forward with time, so that a cache between never answers with the past for ever.
  let streamCursor;
  while (!signal.aborted) {
    const url = channel.url({ offset: cursor, live: 'long-poll', cursor: streamCursor });
    const answer = await ask(url, cursor, sink, { signal });
    cursor = answer.cursor;
    streamCursor = answer.response.headers.get('Stream-Cursor');
    if (answer.response.status === 404) throw new Error('the channel is gone');
  }
}
