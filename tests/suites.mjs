// Runs suites one after the other, and tells at the very end what failed: `node suites.mjs NAME=COMMAND …`.
//
// Every suite says `FILE: 3 passed, 1 failed` for a file of tests, and for a failure `failed: FILE: TEST` with the rest of
// its text indented below. What it says passes through as it comes; the same is what the summary is made of. A suite
// that ends with an error and names no failure is one itself, with its last lines.
//
// However much failed, the summary fits into the last 40 lines of a log.

import { spawn } from "node:child_process";

const SUMMARY_LINES_MAX = 36;
const LAST_LINES = 20;

async function main(suites) {
  const outcomes = [];
  for (const suite of suites) {
    const at = suite.indexOf("=");
    outcomes.push(await run(suite.slice(0, at), suite.slice(at + 1)));
  }
  console.log(`\n${summary(outcomes).join("\n")}`);
  return outcomes.some((outcome) => outcome.failures.length > 0) ? 1 : 0;
}

/** Runs a suite: `{ name, passed, failed, seconds, failures }`, each failure a list of lines. */
async function run(name, command) {
  const began = performance.now();
  const child = spawn("/bin/sh", ["-c", command], { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of ["stdout", "stderr"]) {
    child[stream].setEncoding("utf8").on("data", (text) => {
      output += text;
      process[stream].write(text);
    });
  }
  const end = await new Promise((ended) => {
    child.on("error", ended);
    child.on("close", (code, signal) => ended(signal ?? code));
  });
  const seconds = Math.round((performance.now() - began) / 1000);

  const lines = output.trimEnd().split("\n");
  const failures = failuresIn(lines);
  if (end !== 0 && failures.length === 0) {
    failures.push([`failed: ${name}: it ended with ${end} and named no failed test`, ...lines.slice(-LAST_LINES).map((line) => `    ${line}`)]);
  }
  const [passed, failed] = ["passed", "failed"].map((what) => count(output, what));
  return { name, passed, failed: Math.max(failed, failures.length), seconds, failures };
}

function failuresIn(lines) {
  const failures = [];
  let open = false;
  for (const line of lines) {
    if (line.startsWith("failed: ")) failures.push([line]);
    else if (open && line.startsWith("    ")) failures.at(-1).push(line);
    open = line.startsWith("failed: ") || (open && line.startsWith("    "));
  }
  return failures;
}

function count(output, what) {
  const said = output.matchAll(/^\S.*: (\d+) passed, (\d+) failed(?:, \d+ skipped)?$/gm);
  return [...said].reduce((sum, [, passed, failed]) => sum + Number(what === "passed" ? passed : failed), 0);
}

/** A line for each suite, then the name of each failure with as much of its text as there is room for. */
function summary(outcomes) {
  const longest = Math.max(...outcomes.map(({ name }) => name.length));
  const lines = outcomes.map(
    ({ name, passed, failed, seconds }) => `${name.padEnd(longest)}  ${passed} passed, ${failed} failed, ${seconds} s`,
  );
  const failures = outcomes.flatMap((outcome) => outcome.failures);
  const room = SUMMARY_LINES_MAX - lines.length;
  const each = Math.max(1, Math.floor(room / failures.length));
  lines.push(...failures.slice(0, room).flatMap((failure) => failure.slice(0, each)));
  if (failures.length > room) lines.push(`and ${failures.length - room} more above`);
  return lines;
}

process.exit(await main(process.argv.slice(2)));
