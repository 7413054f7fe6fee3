/** What all wires have in common: messages go both ways until the wire ends, which it tells once. */
import type { Ending } from "./ending.js";
import type { ServerMessage } from "./message.js";
import type { Environment, WireName } from "./settings.js";
import { openHttp } from "./wire/http.js";
import { openWebSocket } from "./wire/websocket.js";

/** An opened wire. */
export interface Wire {
  /** Sends commands, each a JSON object as text, in this order. */
  send(commands: readonly string[]): void;
  /** Ends the wire; nothing is told any more. */
  close(): void;
}

/** Who listens to a wire. It is called after `openWire` has returned. */
export interface WireListener {
  /** A message came; a heartbeat is a `ping`. */
  onMessage(message: ServerMessage): void;
  /** The wire ended, by itself. */
  onEnded(ending: Ending): void;
}

/** What a wire needs to be opened. */
export interface WireRequest {
  /** The address of sessions: `https://…/connect`. */
  readonly url: string;
  /** What is added to it to open one: `?publisher=…`. */
  readonly query: string;
  /** Empty if there is none. */
  readonly token: string;
  readonly environment: Environment;
}

/** Opens a wire. */
export function openWire(name: WireName, request: WireRequest, listener: WireListener): Wire {
  return name === "websocket" ? openWebSocket(request, listener) : openHttp(name, request, listener);
}
