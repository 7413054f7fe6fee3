// What can go wrong between a client and the server, in words that a test in any language can send.

import { WIRES } from "./head.mjs";

/**
 * Each fault, with its members. Besides, a fault may befall `commands`, the POSTs of sessions over HTTP; what befalls
 * a wire befalls the commands of its sessions too where `commands` is set here.
 */
const FAULTS = {
  /** Everything passes. */
  none: { members: [] },
  /** The proxy answers in the server's place: with `status` (absent: it cuts without an answer), with problem details
   * of the type `problem` if given, else with a page of its own, and with `Retry-After` if given. */
  refuse: { members: ["status", "problem", "retry_after_s"], commands: true },
  /** The proxy answers 200 with a page of its own, as a hotel does. */
  foreign: { members: [], commands: true },
  /** The response's head comes, and nothing after it, not even its end. */
  swallow: { members: [] },
  /** Commands and messages of a WebSocket do not go up. */
  "swallow-up": { members: [], commands: true },
  /** Streams are held back until `bytes` have gathered (default 65,536) or the stream ends, as a buffering proxy does. */
  hold: { members: ["bytes"] },
  /** The connection is cut after `bytes` of content from the server. */
  cut: { members: ["bytes"] },
  /** Each piece takes `ms`, up and down. */
  delay: { members: ["ms"], commands: true },
};

/** Reads a fault from a command such as `{ wire: "websocket", fault: "cut", bytes: 420 }`; throws if it is none. */
export function readFault({ wire, fault, ...members }) {
  const wires = wire === "*" ? WIRES : [wire];
  if (wires.some((wire) => ![...WIRES, "commands"].includes(wire))) {
    throw new Error(`${wire} is no wire; name one of *, ${WIRES.join(", ")}, commands`);
  }
  const known = FAULTS[fault];
  if (!known) throw new Error(`${fault} is no fault; name one of ${Object.keys(FAULTS).join(", ")}`);
  for (const name of Object.keys(members)) {
    if (!known.members.includes(name)) throw new Error(`${name} is no member of ${fault}; it has ${known.members.join(", ") || "none"}`);
  }
  return { wires, fault: { fault, ...members } };
}

/** Whether a fault of a wire befalls the commands of its sessions. */
export function befallsCommands({ fault }) {
  return FAULTS[fault].commands === true;
}

/** The response that stands in the server's place. */
export function answerInPlace(fault) {
  const status = fault.fault === "foreign" ? 200 : fault.status;
  const content = fault.problem
    ? JSON.stringify({ type: `https://everwire.dev/problems/${fault.problem}`, title: fault.problem, status, detail: "refused by the test" })
    : "<!doctype html><title>Welcome</title><h1>Please log in</h1>\n";
  const fields = {
    "Content-Type": fault.problem ? "application/problem+json" : "text/html",
    "Content-Length": Buffer.byteLength(content),
    ...(fault.retry_after_s !== undefined && { "Retry-After": fault.retry_after_s }),
    // Pages of another origin may read why; a hotel's page they may not.
    ...(fault.problem && { "Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "Retry-After" }),
    Connection: "close",
  };
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 ${status} From the proxy\r\n${lines.join("")}\r\n${content}`;
}
