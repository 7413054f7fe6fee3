// Runs the binary's own commands, as a person at a shell does.

import { spawn } from "node:child_process";
import { binary } from "../server.mjs";
import { Inbox, soon } from "./inbox.mjs";

/** What the shell of whoever runs the tests has set for the server is not for it. */
const ENVIRONMENT = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("EVERWIRE_")));

/** Runs a command to its end: `{ code, stdout, stderr }`. */
export async function everwire(args, { env = {}, input = "" } = {}) {
  const child = start(args, { env });
  child.stdin.on("error", () => {}); // a command that fails early may leave its input unread
  child.stdin.end(input);
  const [stdout, stderr] = ["stdout", "stderr"].map((name) => text(child[name]));
  const code = await soon(new Promise((ended) => child.on("close", ended)), `the end of everwire ${args.join(" ")}`);
  return { code, stdout: await stdout, stderr: await stderr };
}

/**
 * Starts a command that goes on: `lines` is an inbox of its standard output, `notices` of its standard error.
 * It ends with its test.
 */
export function running(t, args, { env = {} } = {}) {
  const child = start(args, { env });
  const exited = new Promise((ended) => child.on("close", (code, signal) => ended(code ?? signal)));
  t.after(async () => {
    child.kill("SIGKILL");
    await exited;
  });
  return {
    lines: inbox(child.stdout),
    notices: inbox(child.stderr),
    stdin: child.stdin,
    stdout: child.stdout,
    exit: () => soon(exited, `the end of everwire ${args.join(" ")}`),
  };
}

function start(args, { env }) {
  return spawn(binary(), args, { env: { ...ENVIRONMENT, ...env }, stdio: "pipe" });
}

function inbox(stream) {
  const lines = new Inbox();
  let pending = "";
  stream.setEncoding("utf8").on("data", (chunk) => {
    const parts = (pending + chunk).split("\n");
    pending = parts.pop();
    parts.forEach((line) => lines.put(line));
  });
  return lines;
}

async function text(stream) {
  let all = "";
  for await (const chunk of stream.setEncoding("utf8")) all += chunk;
  return all;
}
