// A TCP relay between a client and the server, so that a test can cut connections as a bad network would.

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
