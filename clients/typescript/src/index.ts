/**
 * The client of Everwire: many channels on one line, over whichever wire the network lets through.
 *
 *     connect ─▶ Line ─▶ Channel          what a program holds
 *                  │        └ Subscription, Presence, Reader
 *                  ├ LineLife              which wire, when, and why
 *                  ├ Outbox                what waits for its answer
 *                  └ Wire                  WebSocket, event stream, ndjson, long poll
 *
 * @packageDocumentation
 */
// In the order in which they are best read; the reference is made from it.
export { connect } from "./connect.js";
export type { ConnectOptions, Settings, WireName, Environment } from "./settings.js";
export type { Line, LineEvents } from "./line.js";
export type { LineState } from "./line_state.js";
export type { Channel } from "./channel.js";
export type { ChannelOptions, PresenceOptions, ChannelEvents, Entry, Content, Bytes, Gap, PublishOptions, HistoryQuery, History, Present } from "./channel.js";
export type { Member } from "./presence.js";
export { EverwireError, type ErrorCode } from "./error.js";
export type { Problem, Json } from "./message.js";
export type { Emitter, Off } from "./emitter.js";
export type { WebSocketConstructor, WebSocketLike } from "./wire/websocket.js";
