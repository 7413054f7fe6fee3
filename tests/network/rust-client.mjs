// The Rust client as a scenario drives it: a program that takes lines of JSON, and says in such lines what its user has
// seen (crates/everwire-client/examples/driven.rs).

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const PROGRAM = process.env.EVERWIRE_DRIVEN ?? fileURLToPath(new URL("../../target/debug/examples/driven", import.meta.url));

export class RustClient {
  seen = { state: null, wire: null, wires: [], entries: {}, gaps: {}, ended: {}, outcomes: [], tokens: 0 };
  #issue;
  #child = spawn(PROGRAM, { stdio: ["pipe", "pipe", "inherit"] });
  #waiting = [];

  /** `onSeen` is called whenever the user has seen something new. */
  constructor(onSeen) {
    createInterface({ input: this.#child.stdout }).on("line", (line) => {
      const said = JSON.parse(line);
      if (said === "done") return this.#waiting.shift().done();
      if (said === "token") return void this.#do({ do: "token", token: this.#issue() });
      this.seen = said;
      onSeen();
    });
    this.#child.on("close", (code, signal) => {
      for (const { failed } of this.#waiting) failed(new Error(`the client ended with ${code ?? signal}`));
    });
  }

  connect(url, options, scale, issue) {
    this.#issue = issue;
    return this.#do({ do: "connect", url, options, scale, token: issue !== undefined });
  }

  subscribe(channel, options) {
    return this.#do({ do: "subscribe", channel, ...options });
  }

  unsubscribe(channel) {
    return this.#do({ do: "unsubscribe", channel });
  }

  publish(channel, data) {
    return this.#do({ do: "publish", channel, data });
  }

  wake() {
    return this.#do({ do: "wake" });
  }

  close() {
    this.#child.kill();
  }

  #do(command) {
    this.#child.stdin.write(`${JSON.stringify(command)}\n`);
    return new Promise((done, failed) => this.#waiting.push({ done, failed }));
  }
}
