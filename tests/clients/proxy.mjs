// What stands between a client and the server: a TCP relay, so that a test can cut connections as a bad network would,
// and a proxy that shares a host among servers by paths.

import { createServer as createHttpServer, request } from "node:http";
import { connect, createServer } from "node:net";
import { reset } from "../reset.mjs";

export async function startProxy(server) {
  const [host, port] = server.host.split(":");
  const sockets = new Set();
  let refusing = false;
  let accepted = 0;

  const relay = createServer((near) => {
    if (refusing) return near.destroy();
    accepted += 1;
    const far = connect(Number(port), host);
    for (const [socket, other] of [[near, far], [far, near]]) {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.on("error", () => other.destroy());
      socket.on("close", () => {
        sockets.delete(socket);
        other.destroy();
      });
      socket.pipe(other);
    }
  });
  await new Promise((listening) => relay.listen(0, "127.0.0.1", listening));

  const proxy = {
    url: `http://127.0.0.1:${relay.address().port}`,
    ws: `ws://127.0.0.1:${relay.address().port}`,
    host: `127.0.0.1:${relay.address().port}`,
    /** How many connections came through so far. */
    accepted: () => accepted,
    /** Resets every connection; new ones are still let through. */
    cut() {
      for (const socket of sockets) reset(socket);
    },
    /** Cuts everything and lets nothing through until `mend()`. */
    break() {
      refusing = true;
      proxy.cut();
    },
    mend() {
      refusing = false;
    },
    async stop() {
      proxy.break();
      await new Promise((closed) => relay.close(closed));
    },
  };
  return proxy;
}

/** A reverse proxy that has the server below `prefix`, which it takes away, and nothing beside it. */
export async function startPathProxy(server, prefix) {
  const [host, port] = server.host.split(":");
  const sockets = new Set();
  const pathOf = (url) => (url.startsWith(`${prefix}/`) ? url.slice(prefix.length) : undefined);
  const relay = createHttpServer((asked, answer) => {
    const path = pathOf(asked.url);
    if (!path) return answer.writeHead(404).end();
    const far = request({ host, port, path, method: asked.method, headers: asked.headers }, (answered) => {
      answer.writeHead(answered.statusCode, answered.headers);
      answer.flushHeaders(); // a stream may say nothing for a while
      answered.pipe(answer);
    });
    far.on("error", () => answer.destroy());
    answer.on("close", () => far.destroy());
    asked.pipe(far);
  });
  relay.on("connection", (socket) => sockets.add(socket));
  relay.on("upgrade", (asked, near, head) => {
    const path = pathOf(asked.url);
    if (!path) return near.destroy();
    const far = connect(Number(port), host);
    const { rawHeaders: fields } = asked;
    const lines = fields.flatMap((name, n) => (n % 2 ? [] : [`${name}: ${fields[n + 1]}`]));
    far.write(`${asked.method} ${path} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`);
    far.write(head);
    for (const [socket, other] of [[near, far], [far, near]]) {
      socket.on("error", () => other.destroy());
      socket.on("close", () => other.destroy());
      socket.pipe(other);
    }
  });
  await new Promise((listening) => relay.listen(0, "127.0.0.1", listening));
  return {
    url: `http://127.0.0.1:${relay.address().port}`,
    async stop() {
      for (const socket of sockets) reset(socket);
      await new Promise((closed) => relay.close(closed));
    },
  };
}
