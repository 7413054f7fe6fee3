/** The WebSocket wire: one text message is one message of the session (RFC 6455, subprotocol `everwire.v1`). */
import { FOREIGN } from "../ending.js";
import { asMessage, PING } from "../message.js";
import type { Wire, WireListener, WireRequest } from "../wire.js";

/** The part of the platform's WebSocket that is used. */
export type WebSocketLike = Pick<WebSocket, "onmessage" | "onclose" | "onerror" | "send" | "close">;

/** Makes WebSockets: the platform's class, or one with the same manners, such as that of npm `ws`. */
export type WebSocketConstructor = new (url: string, protocols: string[]) => WebSocketLike;

export function openWebSocket({ url, query, token, environment }: WireRequest, listener: WireListener): Wire {
  // A browser lets no field be set on a handshake, so the token travels as a subprotocol.
  const protocols = ["everwire.v1", ...(token ? [`bearer.${token}`] : [])];
  let socket: WebSocketLike;
  try {
    socket = new environment.WebSocket!((url + query).replace(/^http/, "ws"), protocols);
  } catch (error) {
    // The page's policy forbids it, or the token cannot be a subprotocol.
    queueMicrotask(() => listener.onEnded({ code: 1006, reason: String(error) }));
    return { send() {}, close() {} };
  }
  const close = () => {
    socket.onmessage = socket.onclose = null;
    // A close before the handshake's end throws on some platforms.
    try {
      socket.close(1000);
    } catch {}
  };
  // `onclose` follows and says more, but on some platforms an error that nobody hears ends the process.
  socket.onerror = () => {};
  socket.onclose = ({ code, reason }) => {
    close();
    listener.onEnded({ code, reason: `closed with ${code} ${reason}`, afterMs: afterOf(reason) });
  };
  let began = false;
  socket.onmessage = ({ data }) => {
    let message = PING;
    try {
      message = asMessage(data);
      began = true;
    } catch {
      // One of many is no reason to leave the wire.
      if (!began) return close(), listener.onEnded(FOREIGN);
    }
    listener.onMessage(message);
  };
  return {
    send(commands) {
      for (const command of commands) socket.send(command);
    },
    close,
  };
}

/** A server that stops says in the reason when to come back. */
function afterOf(reason: string): number | undefined {
  return Number(/after (\d+) ms/.exec(reason)?.[1]) || undefined;
}
