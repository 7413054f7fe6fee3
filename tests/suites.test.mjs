// Whatever fails in a suite is named at the end of the log, also where no test of a file failed.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";

const SUITES = fileURLToPath(new URL("suites.mjs", import.meta.url));
const REPORTER = fileURLToPath(new URL("clients/failures.mjs", import.meta.url));

let folder;
before(() => (folder = mkdtempSync(join(tmpdir(), "everwire-suites-"))));
after(() => rmSync(folder, { recursive: true, force: true }));

/** Runs suites of these commands: `{ code, lines }`, the lines of what was said. */
function run(...suites) {
  // A runner inside a runner would report to the outer one.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  return new Promise((ended) => {
    execFile(process.execPath, [SUITES, ...suites], { cwd: folder, env }, (error, stdout) =>
      ended({ code: error?.code ?? 0, lines: stdout.trimEnd().split("\n") }),
    );
  });
}

/** Runs one file of tests, whose text follows the import of `node:test`. */
function runFile(text) {
  writeFileSync(join(folder, "some.test.mjs"), `import { after, before, describe, test } from "node:test";\n${text}`);
  return run(`some=node --test --test-timeout=2000 --test-reporter=${REPORTER} some.test.mjs`);
}

/** What stands after the empty line that opens the summary. */
const summaryOf = (lines) => lines.slice(lines.lastIndexOf("") + 1);

describe("a suite", () => {
  test("that passes is one line", async () => {
    const { code, lines } = await runFile(`test("good", () => {}); describe("some", () => test("better", () => {}));`);
    assert.equal(code, 0);
    assert.equal(summaryOf(lines).length, 1);
    assert.match(summaryOf(lines)[0], /^some {2}2 passed, 0 failed, \d+ s$/);
  });

  const good = `test("good", () => {});`;
  const broken = [
    // [what, the file's text, what the failure is called, what is said of it]
    ["a failed test, with the suites around it", `describe("outer", () => describe("inner", () => test("bad", () => { throw new Error("no luck"); })));`, "outer > inner > bad", /no luck/],
    ["a hook that fails before", `before(() => { throw new Error("no server"); }); ${good}`, "good", /before hook: no server/],
    ["a hook that fails after all tests passed", `after(() => { throw new Error("no end"); }); ${good}`, "the whole file", /no end/],
    ["an error that no test catches", `test("good", () => { setTimeout(() => { throw new Error("too late"); }, 20); });`, "the whole file", /too late/],
    ["an error outside of tests", `${good} await null; throw new Error("no module");`, "the whole file", /no module/],
    ["a file that cannot be read", `test("good", () => {};`, "the whole file", /SyntaxError/],
    ["a process that ends with an error after its tests", `${good} process.on("exit", () => (process.exitCode = 3));`, "the whole file", /exit code 3\)\n.*after its tests had ended/],
    ["a process that is killed", `${good} test("kills", async () => { process.kill(process.pid, "SIGKILL"); await new Promise(() => {}); });`, "the whole file", /SIGKILL/],
    ["a process that ends before its tests do", `${good} test("quits", () => process.exit(0));`, "the whole file", /none of its tests/],
    ["a test that never ends", `${good} test("hangs", async () => { setInterval(() => {}, 1000); await new Promise(() => {}); });`, "the whole file", /timed out.*\n.*while this ran: hangs/],
    ["what keeps a file open", `test("good", () => { setInterval(() => {}, 1000); });`, "the whole file", /timed out.*\n.*after its tests had ended/],
  ];
  for (const [what, text, name, said] of broken) {
    test(`is failed by ${what}, and it is named`, async () => {
      const { code, lines } = await runFile(text);
      const [counts, failure, ...rest] = summaryOf(lines);
      assert.equal(code, 1);
      assert.match(counts, /, [1-9]\d* failed, /);
      assert.equal(failure, `failed: some.test.mjs: ${name}`);
      assert.match(rest.join("\n"), said);
    });
  }

  test("that ends with an error and names nothing is named itself, with what it said last", async () => {
    const { code, lines } = await run("install=echo no network >&2; exit 7", "other=echo 'a: 1 passed, 0 failed'");
    assert.equal(code, 1);
    const [install, other, ...rest] = summaryOf(lines);
    assert.match(install, /^install {2}0 passed, 1 failed/);
    assert.match(other, /^other {4}1 passed, 0 failed/);
    assert.deepEqual(rest, ["failed: install: it ended with 7 and named no failed test", "    no network"]);
  });

  test("with very many failures tells as many names as the last lines hold", async () => {
    const said = Array.from({ length: 50 }, (_, n) => `failed: a: test ${n}\\n    because\\n`).join("");
    const { lines } = await run(`many=printf '${said}a: 0 passed, 50 failed\\n'; exit 1`);
    const summary = summaryOf(lines);
    assert.ok(summary.length <= 40, `${summary.length} lines`);
    assert.equal(summary[1], "failed: a: test 0");
    assert.equal(summary.at(-1), `and ${50 - (summary.length - 2)} more above`);
  });
});
