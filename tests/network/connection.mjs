// One client's connection through the fault proxy: requests one after the other, or one WebSocket.
//
//     near (client) ──▶ head: which wire ──▶ fault ──▶ far (server)
//     near          ◀── fault ◀── response head, content ◀── far
//
// Nothing is parsed but heads: a client that does not pipeline sends the next head when the response is over, so all
// that comes down belongs to the request that went up last.

import { connect } from "node:net";
import { reset } from "../reset.mjs";
import { answerInPlace } from "./faults.mjs";
import { headEnd, purposeOf, requestHead, responseFields } from "./head.mjs";

export class Connection {
  /** Whether the server is expected to say something. */
  awaits = false;
  #proxy;
  #near;
  #far = null;
  #up = new Lane();
  #down = new Lane();
  #head = Buffer.alloc(0);
  #contentLeft = 0;
  #exchange = null;

  constructor(near, proxy) {
    this.#proxy = proxy;
    this.#near = near.setNoDelay(true);
    near.on("data", (chunk) => this.#onUp(chunk));
    near.on("error", () => {});
    near.on("close", () => this.cut());
  }

  /** Cuts both sides. */
  cut() {
    this.#far?.destroy();
    reset(this.#near);
    this.#proxy.connections.delete(this);
  }

  /** Ends a WebSocket with a Close frame in the server's place; it has to be between two messages. */
  closeWebSocket(code) {
    if (!this.#exchange?.tunnel) return;
    this.#far.destroy();
    this.#near.end(Buffer.from([0x88, 2, code >> 8, code & 0xff]));
  }

  #onUp(chunk) {
    if (this.#exchange?.tunnel) return this.#onTunnelUp(chunk);
    const content = chunk.subarray(0, this.#contentLeft);
    this.#contentLeft -= content.length;
    if (content.length > 0) this.#sendUp(content);
    if (content.length === chunk.length) return;

    this.#head = Buffer.concat([this.#head, chunk.subarray(content.length)]);
    const end = headEnd(this.#head);
    if (end === 0) return;
    const [head, rest] = [this.#head.subarray(0, end), this.#head.subarray(end)];
    this.#head = Buffer.alloc(0);
    this.#near.pause();
    this.#proxy.whenRunning(() => {
      this.#near.resume();
      this.#begin(head);
      if (rest.length > 0) this.#onUp(rest);
    });
  }

  #begin(bytes) {
    if (this.#near.destroyed) return;
    const head = requestHead(bytes);
    const purpose = purposeOf(head);
    const fault = this.#proxy.onRequest(purpose);
    this.#contentLeft = head.contentLength;
    this.#exchange = {
      purpose,
      tunnel: purpose.wire === "websocket",
      head: Buffer.alloc(0),
      isStream: false,
      passed: 0,
      held: [],
      silent: fault === null || ["refuse", "foreign"].includes(fault.fault) || (fault.fault === "swallow-up" && purpose.kind === "commands"),
      losesReply: purpose.kind === "commands" && this.#proxy.takesReply(),
      seen: "",
    };
    // A poll is answered when there is news.
    this.awaits = !this.#exchange.silent && purpose.kind !== "poll";
    if (!this.#exchange.silent) this.#sendUp(bytes);
    else if (fault === null || (fault.fault === "refuse" && fault.status === undefined)) this.cut();
    else if (fault.fault !== "swallow-up") this.#near.end(answerInPlace(fault));
  }

  /** Messages of a WebSocket. What was swallowed once never arrives; nor does what follows it. */
  #onTunnelUp(chunk) {
    const exchange = this.#exchange;
    exchange.silent ||= this.#fault().fault === "swallow-up";
    const isText = (chunk[0] & 0x0f) === 1;
    if (isText && !exchange.losesReply) exchange.losesReply = this.#proxy.takesReply();
    this.awaits ||= isText && !exchange.silent;
    this.#sendUp(chunk);
  }

  #sendUp(bytes) {
    if (this.#exchange?.silent) return;
    this.#far ??= this.#connectFar();
    this.#up.later(this.#delay(), () => {
      this.#proxy.passedAt = performance.now();
      if (!this.#far.destroyed) this.#far.write(bytes);
    });
  }

  #connectFar() {
    const far = connect(this.#proxy.target).setNoDelay(true);
    far.on("data", (chunk) => this.#down.later(this.#delay(), () => this.#onDown(chunk)));
    far.on("error", () => {});
    far.on("close", (failed) => this.#down.later(this.#delay(), () => this.#onFarClosed(failed)));
    return far;
  }

  #onDown(chunk) {
    const exchange = this.#exchange;
    this.awaits = false;
    this.#proxy.passedAt = performance.now();
    if (exchange.losesReply) return this.cut();
    if (exchange.head === null) return this.#onContent(chunk);
    exchange.head = Buffer.concat([exchange.head, chunk]);
    const end = headEnd(exchange.head);
    if (end === 0) return;
    const [head, content] = [exchange.head.subarray(0, end), exchange.head.subarray(end)];
    exchange.head = null;
    exchange.isStream = !exchange.tunnel && !responseFields(head).has("content-length");
    // A proxy that buffers keeps the head back as well.
    if (this.#holds()) exchange.held.push(head);
    else this.#near.write(head);
    if (content.length > 0) this.#onContent(content);
  }

  #onContent(bytes) {
    const exchange = this.#exchange;
    this.#learnSession(bytes);
    const fault = this.#fault();
    exchange.swallows ||= fault.fault === "swallow";
    if (exchange.swallows) return;
    if (this.#holds()) {
      exchange.held.push(bytes);
      const gathered = exchange.held.reduce((sum, piece) => sum + piece.length, 0);
      const isLast = bytes.subarray(-LAST_CHUNK.length).equals(LAST_CHUNK);
      if (isLast || gathered >= (fault.bytes ?? 65_536)) this.#release();
      return;
    }
    this.#release();
    const passes = fault.fault === "cut" ? Math.max(0, fault.bytes - exchange.passed) : Infinity;
    exchange.passed += bytes.length;
    this.#near.write(bytes.subarray(0, passes));
    if (passes >= bytes.length) return;
    // Not reset: that could take back what the network had delivered.
    this.#far.destroy();
    this.#near.end();
  }

  #onFarClosed(failed) {
    if (this.#exchange.swallows) return;
    this.#release();
    if (failed) this.cut();
    else this.#near.end();
  }

  #holds() {
    return this.#exchange.isStream && this.#fault().fault === "hold";
  }

  #release() {
    for (const piece of this.#exchange.held.splice(0)) this.#near.write(piece);
  }

  /** The welcome names the session that later commands are for. */
  #learnSession(bytes) {
    const { purpose } = this.#exchange;
    if (purpose.kind !== "open" || this.#exchange.seen === null) return;
    this.#exchange.seen += bytes.toString("latin1");
    const session = /"session":"([^"]+)"/.exec(this.#exchange.seen)?.[1];
    if (session !== undefined) this.#proxy.wireOfSession.set(session, purpose.wire);
    if (session !== undefined || this.#exchange.seen.length > 4096) this.#exchange.seen = null;
  }

  #fault() {
    return this.#proxy.faultOf(this.#exchange.purpose);
  }

  #delay() {
    const fault = this.#exchange ? this.#fault() : {};
    return fault.fault === "delay" ? fault.ms : 0;
  }
}

/** How a response in chunks ends (RFC 9112, section 7.1). */
const LAST_CHUNK = Buffer.from("\r\n0\r\n\r\n");

/** One direction of a connection: what is delayed keeps its order, as it does in TCP. */
class Lane {
  #until = 0;
  #waiting = 0;

  later(ms, run) {
    if (ms === 0 && this.#waiting === 0) return run();
    const now = performance.now();
    this.#until = Math.max(this.#until, now + ms);
    this.#waiting += 1;
    setTimeout(() => {
      this.#waiting -= 1;
      run();
    }, this.#until - now);
  }
}
