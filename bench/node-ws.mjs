// A channel server as the manual of `ws` shows it: whoever sends, all get it; a POST does the same.
// Started as `node node-ws.mjs <port>`; see node-ws.toml.

import { createServer } from "node:http";
import { WebSocketServer, WebSocket } from "ws";

const channels = new Map(); // path → its readers

function publish(path, data, isBinary) {
  for (const reader of channels.get(path) ?? []) {
    if (reader.readyState === WebSocket.OPEN) reader.send(data, { binary: isBinary });
  }
}

const server = createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    publish(request.url, Buffer.concat(parts), false);
    response.writeHead(204).end();
  });
});

const wss = new WebSocketServer({ server, clientTracking: false, perMessageDeflate: false });
wss.on("connection", (reader, { url }) => {
  if (!channels.has(url)) channels.set(url, new Set());
  const readers = channels.get(url).add(reader);
  reader.on("message", (data, isBinary) => publish(url, data, isBinary));
  reader.on("error", console.error);
  reader.on("close", () => readers.delete(reader) && readers.size === 0 && channels.delete(url));
});

server.listen(Number(process.argv[2]), "127.0.0.1", 4096, () => console.log("listening"));
