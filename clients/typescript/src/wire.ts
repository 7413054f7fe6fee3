/** What all wires have in common: messages go both ways until the wire ends, which it tells once. */
import type { Ending } from "./ending.js";
import type { ServerMessage } from "./message.js";
import type { Environment, WireName } from "./settings.js";
import { HttpWire } from "./wire/http.js";
import { openWebSocket } from "./wire/websocket.js";

/** An opened wire. */
export interface Wire {
  /** Sends commands, each a JSON object as text, in this order. */
  send(commands: readonly string[]): void;
  /** Ends the wire; nothing is told any more. */
  close(code: number): void;
}

/** Who listens to a wire. */
export interface WireListener {
  /** A message came. */
  onMessage(message: ServerMessage): void;
  /** Something came, be it a heartbeat. */
  onHeard(): void;
  /** The wire ended, by itself. */
  onEnded(ending: Ending): void;
}

/** What a wire needs to be opened. */
export interface WireRequest {
  /** The address of sessions: `https://…/connect`. */
  readonly url: string;
  readonly token: string | null;
  /** How long the server may hold a long poll, in milliseconds. */
  readonly pollMs: number;
  readonly environment: Environment;
}

/** Opens a wire. */
export function openWire(name: WireName, request: WireRequest, listener: WireListener): Wire {
  return name === "websocket" ? openWebSocket(request, listener) : new HttpWire(name, request, listener);
}
