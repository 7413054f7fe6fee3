// Runs the suite and compares its failures with expected-failures.txt: a failure that is not listed is a fault,
// and so is a listed test that passes or no longer exists, since the list would then promise too little.

import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { startServer } from "../server.mjs";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const REPORTS = fileURLToPath(new URL("../../target/reports/", import.meta.url));
const REPORT = `${REPORTS}durable-streams.json`;
const LONG_POLL_MS = 1_000;
// The suite asks for CORS headers as a page of any other origin would see them, and waits out several long polls.
const CONFIG = `
[http]
origins = ["*"]

[limits]
long_poll_ms_max = ${LONG_POLL_MS}
`;

async function main() {
  const { values: options } = parseArgs({ options: { url: { type: "string" }, verbose: { type: "boolean" } } });
  const server = options.url ? { url: options.url, stop() {} } : await startServer({ config: CONFIG });
  const output = await runSuite(server.url);
  await server.stop();

  const results = readResults();
  if (results.length === 0) {
    console.log(`failed: durable-streams: the suite did not run\n    ${output.trimEnd().replaceAll("\n", "\n    ")}`);
    return 2;
  }
  return judge(results, readExpectedFailures(), options.verbose);
}

function runSuite(url) {
  mkdirSync(REPORTS, { recursive: true });
  rmSync(REPORT, { force: true });
  const args = ["node_modules/vitest/vitest.mjs", "run", "--reporter=json", `--outputFile=${REPORT}`];
  const env = { ...process.env, EVERWIRE_URL: url, EVERWIRE_LONG_POLL_MS: String(LONG_POLL_MS + 10_000) };
  const suite = spawn(process.execPath, args, { cwd: HERE, env, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  suite.stdout.on("data", (chunk) => (output += chunk));
  suite.stderr.on("data", (chunk) => (output += chunk));
  return new Promise((done) => suite.on("close", () => done(output)));
}

/** Every test that ran: `{ name: "Group > test", passed, message }`. Skipped ones, such as optional parts, are left out. */
function readResults() {
  let report;
  try {
    report = JSON.parse(readFileSync(REPORT, "utf8"));
  } catch {
    return [];
  }
  return report.testResults
    .flatMap((file) => file.assertionResults)
    .filter((test) => test.status === "passed" || test.status === "failed")
    .map((test) => ({
      name: [...test.ancestorTitles, test.title].join(" > "),
      passed: test.status === "passed",
      message: test.failureMessages?.join("\n") ?? "",
    }));
}

function readExpectedFailures() {
  const lines = readFileSync(`${HERE}expected-failures.txt`, "utf8").split("\n");
  return new Set(lines.map((line) => line.trim()).filter((line) => line && !line.startsWith("#")));
}

function judge(results, expected, verbose) {
  const names = new Set(results.map((test) => test.name));
  const faults = results.filter((test) => !test.passed && !expected.has(test.name));
  const recovered = results.filter((test) => test.passed && expected.has(test.name));
  const unknown = [...expected].filter((name) => !names.has(name));

  for (const { name, message } of faults) {
    const why = verbose ? message : message.split("\n").slice(0, 1).join();
    console.log(`failed: durable-streams: ${name}\n    ${why.replaceAll("\n", "\n    ")}`);
  }
  for (const { name } of recovered) console.log(`failed: durable-streams: ${name}\n    it passes, but is listed in expected-failures.txt`);
  for (const name of unknown) console.log(`failed: durable-streams: ${name}\n    it is listed in expected-failures.txt, but not in the suite`);

  const count = results.filter((test) => test.passed).length;
  console.log(`durable-streams: ${results.length} tests of the suite, ${count} pass, ${expected.size} expected failures`);
  const failed = faults.length + recovered.length + unknown.length;
  console.log(`durable-streams: ${count - recovered.length} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

process.exit(await main());
