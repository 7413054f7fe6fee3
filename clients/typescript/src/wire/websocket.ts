/** The WebSocket wire: one text message is one message of the session (RFC 6455, subprotocol `everwire.v1`). */
import { parseMessage } from "../message.js";
import type { Wire, WireListener, WireRequest } from "../wire.js";

/** The part of the platform's WebSocket that is used. */
export type WebSocketLike = Pick<WebSocket, "onmessage" | "onclose" | "onerror" | "send" | "close">;

/** Makes WebSockets: the platform's class, or one with the same manners. */
export type WebSocketConstructor = new (url: string, protocols: string[]) => WebSocketLike;

export function openWebSocket({ url, token, environment }: WireRequest, listener: WireListener): Wire {
  // A browser lets no field be set on a handshake, so the token travels as a subprotocol.
  const protocols = token === null ? ["everwire.v1"] : ["everwire.v1", `bearer.${token}`];
  let socket: WebSocketLike;
  try {
    socket = new environment.WebSocket!(url.replace(/^http/, "ws"), protocols);
  } catch (error) {
    // The page's policy forbids it, or the token cannot be a subprotocol.
    queueMicrotask(() => listener.onEnded({ kind: "closed", code: 1006, reason: String(error) }));
    return { send() {}, close() {} };
  }
  const forget = () => {
    socket.onmessage = socket.onclose = socket.onerror = null;
  };
  const close = (code: number) => {
    forget();
    // Pages may send 1000 and 3000–4999 only, and a close before the handshake's end throws in some platforms.
    try {
      socket.close(code);
    } catch {}
  };
  socket.onerror = () => {};
  socket.onclose = ({ code, reason }) => {
    forget();
    listener.onEnded({ kind: "closed", code, reason });
  };
  socket.onmessage = ({ data }) => {
    const message = typeof data === "string" ? parseMessage(data) : null;
    if (message === null) {
      close(4400);
      listener.onEnded({ kind: "foreign" });
      return;
    }
    listener.onHeard();
    listener.onMessage(message);
  };
  return {
    send(commands) {
      for (const command of commands) socket.send(command);
    },
    close,
  };
}
