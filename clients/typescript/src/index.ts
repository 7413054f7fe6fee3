/**
 * The client of Everwire: many channels on one line, over whichever wire the network lets through.
 *
 *     connect ─▶ Line ─▶ Channel          what a program holds
 *                  │        └ Subscription, Reader
 *                  ├ LineState             which wire, when, and why
 *                  ├ Outbox                what waits for its answer
 *                  └ Wire                  WebSocket, event stream, ndjson, long poll
 *
 * @packageDocumentation
 */
export { connect } from "./connect.js";
export type { Line, LineEvents } from "./line.js";
export type {
  Channel,
  ChannelEvents,
  ChannelOptions,
  Content,
  Entry,
  Gap,
  History,
  HistoryQuery,
  PresenceOptions,
  PublishOptions,
} from "./channel.js";
export type { Member } from "./presence.js";
export { EverwireError, type ErrorCode } from "./error.js";
export type { ConnectOptions, Environment, Settings, WireName } from "./settings.js";
export type { LineState } from "./line_state.js";
export type { Json, Problem } from "./message.js";
export type { Off } from "./emitter.js";
