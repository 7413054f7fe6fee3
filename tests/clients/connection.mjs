// A TCP connection to the server on which a test writes and reads bytes of its own choosing.

import { connect } from "node:net";
import { reset } from "../reset.mjs";

const WAIT_MS_MAX = 5_000;

export class Connection {
  #socket;
  /** What has arrived and was not taken, in a buffer that doubles: tests receive tens of megabytes. */
  #buffer = Buffer.alloc(65_536);
  #filled = 0;
  #ended = false;
  #wake = () => {};

  static async open(server) {
    const [host, port] = server.host.split(":");
    const socket = connect({ host, port: Number(port), noDelay: true, allowHalfOpen: true });
    await new Promise((opened, failed) => socket.once("connect", opened).once("error", failed));
    return new Connection(socket);
  }

  constructor(socket) {
    this.#socket = socket;
    socket.on("data", (chunk) => {
      if (this.#filled + chunk.length > this.#buffer.length) {
        const grown = Buffer.alloc(2 * (this.#filled + chunk.length));
        this.#pending.copy(grown);
        this.#buffer = grown;
      }
      chunk.copy(this.#buffer, this.#filled);
      this.#filled += chunk.length;
      this.#wake();
    });
    for (const end of ["end", "error", "close"]) {
      socket.on(end, () => {
        this.#ended = true;
        this.#wake();
      });
    }
  }

  /** Sends bytes; resolves when the kernel has them. */
  write(bytes) {
    return new Promise((written) => this.#socket.write(bytes, written));
  }

  /** Stops reading, so that the server meets a full socket, until `resume()`. */
  pause() {
    this.#socket.pause();
  }

  resume() {
    this.#socket.resume();
  }

  /** Ends the connection as a crash would, by a reset. */
  reset() {
    reset(this.#socket);
  }

  close() {
    this.#socket.destroy();
  }

  /** Exactly `count` bytes. */
  async bytes(count) {
    await this.#until(() => this.#pending.length >= count, `${count} bytes`);
    return this.#take(count);
  }

  /** All bytes up to and with `mark`; with `orEnd`, all bytes there were if the connection ended before it. */
  async through(mark, { orEnd = false } = {}) {
    const bytes = Buffer.from(mark);
    let at = -1;
    let from = 0;
    const isThere = () => {
      at = this.#pending.indexOf(bytes, from);
      from = Math.max(0, this.#filled - bytes.length);
      return at >= 0;
    };
    await this.#until(() => isThere() || (orEnd && this.#ended), JSON.stringify(mark));
    return this.#take(at < 0 ? this.#filled : at + bytes.length);
  }

  /** All bytes until the server ends the connection. */
  async end() {
    await this.#until(() => this.#ended, "the end of the connection");
    return this.#take(this.#pending.length);
  }

  /** The next response's status and fields; its content is still to be read. */
  async head() {
    const [statusLine, ...fields] = (await this.through("\r\n\r\n")).toString("latin1").trimEnd().split("\r\n");
    const [version, status] = statusLine.split(" ");
    const headers = {};
    for (const field of fields) {
      const [, name, value] = /^([^:]+):\s*(.*)$/.exec(field);
      headers[name.toLowerCase()] = value;
    }
    return { status: Number(status), version, headers };
  }

  /** The next whole response, delimited as RFC 9112, section 6.3 says. */
  async response({ toHead = false } = {}) {
    const head = await this.head();
    const length = head.headers["content-length"];
    let body = Buffer.alloc(0);
    if (toHead || head.status < 200 || head.status === 204 || head.status === 304) body = Buffer.alloc(0);
    else if (head.headers["transfer-encoding"] === "chunked") body = Buffer.concat(await this.#chunks());
    else if (length !== undefined) body = await this.bytes(Number(length));
    else body = await this.end();
    return { ...head, body: body.toString() };
  }

  /** One chunk of a chunked body (RFC 9112, section 7.1); empty for the last one. */
  async chunk() {
    const size = Number.parseInt((await this.through("\r\n")).toString(), 16);
    const data = await this.bytes(size);
    await this.through("\r\n");
    return data;
  }

  async #chunks() {
    const chunks = [];
    do chunks.push(await this.chunk());
    while (chunks.at(-1).length > 0);
    return chunks;
  }

  get #pending() {
    return this.#buffer.subarray(0, this.#filled);
  }

  #take(count) {
    const taken = Buffer.from(this.#buffer.subarray(0, count));
    this.#buffer.copyWithin(0, count, this.#filled);
    this.#filled -= count;
    return taken;
  }

  async #until(isThere, what) {
    const deadline = Date.now() + WAIT_MS_MAX;
    while (!isThere()) {
      const have = () => JSON.stringify(this.#pending.subarray(0, 500).toString("latin1"));
      if (this.#ended) throw new Error(`the connection ended before ${what}, after ${have()}`);
      await new Promise((woken, failed) => {
        const fail = () => failed(new Error(`waited ${WAIT_MS_MAX} ms for ${what}, and have ${have()}`));
        const timer = setTimeout(fail, deadline - Date.now());
        this.#wake = () => {
          clearTimeout(timer);
          woken();
        };
      });
    }
  }
}
