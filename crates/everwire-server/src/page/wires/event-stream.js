import { EVENT_STREAM_HEAD, requestHeadBytes } from '../heads.js';

/** One response that never ends, read by the browser's own `EventSource` (WHATWG HTML, section 9.2). */
export const eventStream = {
  id: 'event-stream',
  title: 'Event stream',
  how: 'one response, by EventSource',
  holdsConnection: true,
  hearsByName: true,

  open(channel, cursor, sink) {
    const url = channel.url({ offset: cursor });
    sink.meter.request(requestHeadBytes('GET', url, { Accept: 'text/event-stream' }));
    const source = new EventSource(url);
    const onEntry = (event) => {
      sink.meter.body(eventBytes(event));
      sink.entry(event.lastEventId, parse(event.data), event.type === 'message' ? undefined : event.type);
    };
    source.onopen = () => {
      sink.meter.head(EVENT_STREAM_HEAD);
      sink.opened();
    };
    source.onmessage = onEntry;
    // An EventSource drops events whose name nobody listens for.
    for (const name of sink.eventNames) source.addEventListener(name, onEntry);
    source.addEventListener('gap', ({ data }) => sink.gap(JSON.parse(data).oldest));
    source.addEventListener('closed', () => sink.closed());
    // It would reconnect by itself, with `Last-Event-ID`. Here every wire waits by the same rule.
    source.onerror = () => sink.failed('the stream ended');
    return () => source.close();
  },

  shell: (channel) => `curl -N -H 'Accept: text/event-stream' '${channel.url()}'`,
  script: (channel) => `new EventSource('${channel.url()}').onmessage = (e) => console.log(e.data)`,
};

/** An EventSource shows no bytes, but what the fields must have been: `event:`, `id:`, `data:`, an empty line. */
function eventBytes({ type, lastEventId, data }) {
  const name = type === 'message' ? 0 : 'event: \n'.length + type.length;
  return name + 'id: \n'.length + lastEventId.length + 'data: \n\n'.length + utf8.encode(data).length;
}

/** Of a channel that is not JSON, each entry is a string. */
function parse(data) {
  try {
    return JSON.parse(data);
  } catch {
    return data;
  }
}

const utf8 = new TextEncoder();
