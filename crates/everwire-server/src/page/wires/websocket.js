import { handshakeBytes } from '../heads.js';

/** One connection, opened once; each entry is a message with a head of two to ten bytes (RFC 6455, section 5.2). */
export const websocket = {
  id: 'websocket',
  title: 'WebSocket',
  how: 'one connection, pushed, both ways',

  open(channel, cursor, sink) {
    const url = channel.socketUrl({ offset: cursor });
    sink.meter.request(handshakeBytes(url.replace(/^ws/, 'http')));
    const socket = new WebSocket(url, 'everwire.v1');
    socket.onmessage = ({ data: text }) => {
      sink.meter.body(frameBytes(text));
      const message = JSON.parse(text);
      switch (message.ev) {
        case 'welcome': return sink.opened();
        case 'entry': return sink.entry(message.offset, message.data, message.event);
        case 'gap': return sink.gap(message.oldest);
        case 'closed': return sink.closed();
        case 'drain': return sink.failed('the server is going away', message.after_ms);
      }
    };
    socket.onclose = ({ code }) => sink.failed(`closed with code ${code}`);
    return () => socket.close();
  },

  shell: (channel) => `websocat --protocol everwire.v1 '${channel.socketUrl()}'`,
  script: (channel) =>
    `new WebSocket('${channel.socketUrl()}', 'everwire.v1').onmessage = (m) => console.log(m.data)`,
};

/** A message's bytes with its frame head; a server's frames carry no masking key. */
function frameBytes(text) {
  const payload = utf8.encode(text).length;
  if (payload < 126) return 2 + payload;
  return (payload < 65_536 ? 4 : 10) + payload;
}

const utf8 = new TextEncoder();
