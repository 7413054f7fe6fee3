// Runs the `curl` of the system.

import { spawn } from "node:child_process";
import { Inbox, soon } from "./inbox.mjs";

/** One request: `{ status, version, headers, body }`, where `body` is a Buffer. */
export async function curl(...args) {
  const child = spawn("curl", ["--silent", "--show-error", "--include", "--max-time", "10", ...args]);
  const out = [];
  let errors = "";
  child.stdout.on("data", (chunk) => out.push(chunk));
  child.stderr.on("data", (chunk) => (errors += chunk));
  const code = await new Promise((ended, failed) => child.on("error", failed).on("close", ended));
  if (code !== 0) throw new Error(`curl ${args.join(" ")} ended with ${code}: ${errors}`);
  return parseResponse(Buffer.concat(out));
}

/**
 * A request whose response does not end. `head()` waits for the header section, `lines` is an inbox of the body's
 * lines, and `exit()` waits for the end and gives curl's exit code, 0 for a complete body.
 */
export function curlStream(...args) {
  // Curl holds the header section back until the first bytes of the body, except from those who ask for every detail.
  const child = spawn("curl", ["--silent", "--show-error", "--no-buffer", "--verbose", ...args]);

  const lines = new Inbox();
  let pending = Buffer.alloc(0);
  child.stdout.on("data", (chunk) => {
    pending = Buffer.concat([pending, chunk]);
    let newline;
    while ((newline = pending.indexOf("\n")) >= 0) {
      lines.put(pending.subarray(0, newline).toString());
      pending = pending.subarray(newline + 1);
    }
  });

  let said = "";
  const exited = new Promise((ended) => child.on("close", ended));
  const head = new Promise((arrived, failed) => {
    child.stderr.on("data", (chunk) => {
      said += chunk;
      // What was received is marked `< `.
      const fields = said.match(/^< .*\r?\n/gm)?.map((line) => line.slice(2)) ?? [];
      if (fields.at(-1)?.trim() !== "") return;
      arrived(parseResponse(Buffer.from(fields.join(""))));
    });
    exited.then((code) => failed(new Error(`curl ended with ${code}: ${said}`)));
  });
  head.catch(() => {}); // A test that never asks for the head sees the missing lines instead.

  return {
    head: () => soon(head, "the header section"),
    lines,
    exit: () => soon(exited, "the end of the response"),
    async stop() {
      child.kill();
      await exited;
    },
  };
}

function parseResponse(bytes) {
  const end = bytes.indexOf("\r\n\r\n");
  const [statusLine, ...fields] = bytes.subarray(0, end).toString("latin1").split("\r\n");
  const [version, status] = statusLine.split(" ");
  // An interim response (100 Continue) stands before the one that was asked for.
  if (status === "100") return parseResponse(bytes.subarray(end + 4));
  const headers = {};
  for (const field of fields) {
    const colon = field.indexOf(":");
    const name = field.slice(0, colon).toLowerCase();
    const value = field.slice(colon + 1).trim();
    headers[name] = name in headers ? `${headers[name]}, ${value}` : value;
  }
  return { status: Number(status), version, headers, body: bytes.subarray(end + 4) };
}
