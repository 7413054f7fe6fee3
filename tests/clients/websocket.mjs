// The `ws` package, for tests outside of this folder: Node 20 has no WebSocket of its own.

export { default as WebSocket } from "ws";
