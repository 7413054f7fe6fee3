// The TypeScript client as a scenario drives it: the built bundle, in Node, with real sockets.

import { EverwireError, connect } from "../../clients/typescript/dist/index.js";
import { WebSocket } from "../clients/websocket.mjs";

/** Frames as they are, so that a number of bytes means the same in each run. */
class PlainWebSocket extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols, { perMessageDeflate: false });
  }
}

/** One user with a client: what it was told, and all that its user has seen so far. */
export class TypeScriptClient {
  seen = { state: null, wire: null, wires: [], entries: {}, gaps: {}, ended: {}, outcomes: [], tokens: 0 };
  #stored = new Map();
  #lines = [];
  #offs = new Map();
  #wake = () => {};

  /** `onSeen` is called whenever the user has seen something new. */
  constructor(onSeen) {
    this.onSeen = onSeen;
  }

  /** Opens a line to `url`; all times are divided by `scale`. `issue` gives tokens, if they are wanted. */
  connect(url, options, scale, issue) {
    const token = () => {
      this.seen.tokens += 1;
      this.onSeen();
      return issue();
    };
    const settings = { ...settingsAt(scale), ...options, ...(issue && { token }) };
    const line = connect(url, { ...settings, environment: this.#environment() });
    this.#lines.push(line);
    line.on("wire", ({ wire }) => this.#see(() => this.seen.wires.push(wire)));
    line.on("state", () => this.#see(() => {}));
    this.#see(() => {});
  }

  subscribe(name, options) {
    const channel = this.#line.channel(name, options);
    const entries = (this.seen.entries[name] ??= []);
    this.seen.gaps[name] ??= 0;
    channel.on("gap", () => this.#see(() => (this.seen.gaps[name] += 1)));
    channel.on("end", (error) => this.#see(() => (this.seen.ended[name] = error?.problem?.type ?? error?.code ?? "closed")));
    this.#offs.set(name, channel.on("entry", ({ data }) => this.#see(() => entries.push(data))));
  }

  unsubscribe(name) {
    this.#offs.get(name)();
  }

  publish(name, data) {
    const outcome = this.#line.channel(name).publish(data);
    outcome.then(
      () => this.#see(() => this.seen.outcomes.push("ok")),
      (error) => this.#see(() => this.seen.outcomes.push(error instanceof EverwireError ? error.code : String(error))),
    );
  }

  /** The platform says that network or page came back. */
  wake() {
    this.#wake();
    this.#see(() => {});
  }

  close() {
    for (const line of this.#lines) line.close();
  }

  get #line() {
    return this.#lines.at(-1);
  }

  #see(change) {
    change();
    const { state } = this.#line.state;
    Object.assign(this.seen, { state, wire: this.#line.wire });
    this.onSeen();
  }

  #environment() {
    return {
      WebSocket: PlainWebSocket,
      random: () => 0.5,
      storage: { getItem: (key) => this.#stored.get(key) ?? null, setItem: (key, value) => this.#stored.set(key, value) },
      onWake: (wake) => {
        this.#wake = wake;
        return () => {};
      },
    };
  }
}

/** The defaults that are times. */
const DEFAULTS_MS = {
  proveMs: 5_000,
  replyMs: 10_000,
  stableMs: 10_000,
  backoffMs: 1_000,
  backoffMaxMs: 30_000,
  returnMs: 60_000,
  rememberMs: 86_400_000,
  refreshMs: 30_000,
  queueMs: 600_000,
};

function settingsAt(scale) {
  return Object.fromEntries(Object.entries(DEFAULTS_MS).map(([name, ms]) => [name, ms / scale]));
}
