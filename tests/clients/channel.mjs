// A channel of one test, as any HTTP client sees it.

import assert from "node:assert/strict";
import { startServer } from "../server.mjs";

let count = 0;

export class Channel {
  /** A channel that no other test uses, on a server from `startServer`. */
  constructor(server, prefix = "test") {
    count += 1;
    this.server = server;
    this.name = `${prefix}/${count}`;
    this.path = `/channels/${this.name}`;
  }

  get url() {
    return this.server.url + this.path;
  }

  get ws() {
    return this.server.ws + this.path;
  }

  /** Appends one entry and gives the offset after it. Objects are sent as JSON, strings as text, bytes as such. */
  async publish(body, headers = {}) {
    const [type, bytes] =
      typeof body === "string"
        ? ["text/plain", body]
        : body instanceof Uint8Array
          ? ["application/octet-stream", body]
          : ["application/json", JSON.stringify(body)];
    const answer = await fetch(this.url, { method: "POST", headers: { "content-type": type, ...headers }, body: bytes });
    assert.equal(answer.status, 204, await answer.text());
    return answer.headers.get("stream-next-offset");
  }

  /** Closes the channel: its readers learn that they are at the end. */
  async close() {
    const answer = await fetch(this.url, { method: "POST", headers: { "stream-closed": "true" } });
    assert.equal(answer.status, 204, await answer.text());
  }

  /** The offset of the tail. */
  async tail() {
    const answer = await fetch(this.url, { method: "HEAD" });
    assert.equal(answer.status, 200);
    return answer.headers.get("stream-next-offset");
  }
}

/** Starts a server again at the address of one that was stopped; its memory, and so every epoch, is new. */
export function restart(server, options = {}) {
  return startServer({ ...options, listen: server.host });
}
