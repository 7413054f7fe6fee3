// A TCP proxy on loopback that knows which wire a request asks for, and does to it what it was told.
//
// A test in JavaScript uses the class; others run this file, and talk to it in lines of JSON:
//
//     $ node tests/network/fault-proxy.mjs 127.0.0.1:8080
//     {"listening":"127.0.0.1:40123"}
//     {"do":"network","wire":"websocket","fault":"swallow"}      faults.mjs has them all
//     {"ok":{}}
//     {"do":"attempts"}
//     {"ok":["websocket","event-stream"]}
//
// Commands are the methods of `command` below. Each is answered by one line, in order: `ok`, or `error` with a sentence.
// The proxy ends when its input ends.

import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Connection } from "./connection.mjs";
import { befallsCommands, readFault } from "./faults.mjs";

const NONE = { fault: "none" };

export class FaultProxy {
  /** Where it leads: `{ host, port }`. */
  target;
  /** The wires that clients tried to open, in order. */
  attempts = [];
  connections = new Set();
  /** Over which wire each session was opened. */
  wireOfSession = new Map();
  /** When something passed last, up or down, by `performance.now()`. */
  passedAt = 0;
  #faults = new Map();
  #up = true;
  #loses = 0;
  #paused = null;
  #server = createServer((near) => this.connections.add(new Connection(near, this)));

  /** A proxy to the server at `host`, an address and a port. */
  static async to(host) {
    const proxy = new FaultProxy();
    const [address, port] = host.split(":");
    proxy.target = { host: address, port: Number(port) };
    await new Promise((listening) => proxy.#server.listen(0, "127.0.0.1", listening));
    return proxy;
  }

  get host() {
    return `127.0.0.1:${this.#server.address().port}`;
  }

  get url() {
    return `http://${this.host}`;
  }

  async stop() {
    this.#up = false;
    this.cut();
    await new Promise((closed) => this.#server.close(closed));
  }

  /** What a test may command; each gives what is answered. */
  command = {
    /** From now on `fault` befalls `wire`, on open connections and on new ones. */
    network: (command) => {
      const { wires, fault } = readFault(command);
      for (const wire of wires) this.#faults.set(wire, fault);
      return {};
    },
    /** With `up: false`, whoever asks for anything is cut without an answer. */
    server: ({ up }) => {
      this.#up = up;
      return {};
    },
    /** Cuts every connection. */
    cut: () => this.cut(),
    /** New requests wait until `resume`. */
    pause: () => {
      this.#paused ??= [];
      return {};
    },
    resume: () => {
      const waiting = this.#paused ?? [];
      this.#paused = null;
      for (const run of waiting) run();
      return {};
    },
    /** The answers to the next `count` messages or POSTs of commands are lost, and their connections with them. */
    lose_replies: ({ count }) => {
      this.#loses = count;
      return {};
    },
    /** Closes every WebSocket with `code`, in the server's place. */
    close_lines: ({ code }) => {
      for (const connection of [...this.connections]) connection.closeWebSocket(code);
      return {};
    },
    /** The wires that clients tried to open so far, in order. */
    attempts: () => this.attempts,
  };

  /** Carries out a command, such as `{ do: "network", wire: "*", fault: "none" }`. */
  do({ do: name, ...members }) {
    const run = this.command[name];
    if (!run) throw new Error(`${name} is no command; name one of ${Object.keys(this.command).join(", ")}`);
    return run(members);
  }

  cut() {
    for (const connection of [...this.connections]) connection.cut();
    return {};
  }

  /** Whether something went up that has no answer yet, and may get one. */
  awaits() {
    return [...this.connections].some((connection) => connection.awaits);
  }

  /** What befalls a request; `null` if nobody is there. */
  onRequest(purpose) {
    if (purpose.kind === "open") this.attempts.push(purpose.wire);
    return this.#up ? this.faultOf(purpose) : null;
  }

  faultOf({ kind, wire, session }) {
    switch (kind) {
      case "open":
        return this.#faults.get(wire) ?? NONE;
      case "poll":
        return this.#faults.get("long-poll") ?? NONE;
      case "commands": {
        const ofWire = this.#faults.get(this.wireOfSession.get(session)) ?? NONE;
        return this.#faults.get("commands") ?? (befallsCommands(ofWire) ? ofWire : NONE);
      }
      default:
        return NONE;
    }
  }

  takesReply() {
    if (this.#loses === 0) return false;
    this.#loses -= 1;
    return true;
  }

  whenRunning(run) {
    if (this.#paused) this.#paused.push(run);
    else run();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const proxy = await FaultProxy.to(process.argv[2]);
  const say = (message) => console.log(JSON.stringify(message));
  say({ listening: proxy.host });
  for await (const line of createInterface({ input: process.stdin })) {
    try {
      say({ ok: proxy.do(JSON.parse(line)) });
    } catch (error) {
      say({ error: error.message });
    }
  }
  await proxy.stop();
}
