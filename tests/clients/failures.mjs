// A reporter for `node --test` that says one line per file when all is well, and everything about what is not.
//
// A file fails as a whole where its process ends with an error, takes too long or is killed, be it after its last test:
// that counts as a failure too, and tells what ran at that time. So does a file in which not one test ran to its end.

import { basename } from "node:path";

export default async function* failures(source) {
  const files = new Map();
  const fileOf = ({ file: path, name }) => {
    const known = basename(path ?? name);
    if (!files.has(known)) files.set(known, new File(known));
    return files.get(known);
  };

  // An error that no test caught comes as a diagnostic that names no file, just before its file ends.
  let diagnostics = [];
  for await (const { type, data } of source) {
    if (type === "test:stderr" || type === "test:stdout") yield data.message;
    if (type === "test:stderr") fileOf(data).stderr.push(...data.message.trimEnd().split("\n"));
    if (type === "test:diagnostic") diagnostics.push(data.message);
    if (!/^test:(dequeue|complete|start|pass|fail)$/.test(type)) continue;
    const file = fileOf(data);
    if (data.name !== data.file) {
      yield* file.onTest(type, data);
    } else {
      yield* file.onEnd(type, data, diagnostics);
      if (type === "test:pass" || type === "test:fail") diagnostics = [];
    }
  }
  for (const { name, passed, failed, skipped } of [...files.values()].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    yield `${name}: ${passed} passed, ${failed} failed${skipped ? `, ${skipped} skipped` : ""}\n`;
  }
}

/** What is known of one file of tests. */
class File {
  passed = 0;
  failed = 0;
  skipped = 0;
  /** What the file's process said beside its tests, by lines. */
  stderr = [];
  /** What began and did not end, by nesting and name: some tests run side by side. */
  #running = new Map();
  /** The suites around the test that is reported, and itself. */
  #path = [];
  #said = new Set();

  constructor(name) {
    this.name = name;
  }

  *onTest(type, { name, nesting, skip, todo, details }) {
    const key = `${nesting} ${name}`;
    if (type === "test:dequeue") this.#running.set(key, { nesting, name });
    if (type === "test:complete") this.#running.delete(key);
    if (type === "test:start") this.#path.splice(nesting, Infinity, name);
    if (type !== "test:pass" && type !== "test:fail") return;

    const isTest = details.type !== "suite";
    if (type === "test:pass") {
      if (isTest) this[skip || todo ? "skipped" : "passed"] += 1;
      return;
    }
    const { error } = details;
    // A suite that only passes on the failure of its tests adds nothing to them.
    if (!isTest && error.failureType === "subtestsFailed") return;
    this.failed += 1;
    // What a failed hook cancelled is counted; the hook itself is reported, once.
    if (error.failureType === "cancelledByParent") return;
    const said = describe(error.cause ?? error);
    if (error.failureType === "hookFailed" && this.#said.has(said)) return;
    this.#said.add(said);
    const what = error.failureType === "hookFailed" ? `${error.message}: ` : "";
    yield this.#failure([...this.#path.slice(0, nesting), name].join(" > "), what + said);
  }

  /** The file's process ended. */
  *onEnd(type, { details }, diagnostics) {
    if (type === "test:pass" && this.passed + this.failed + this.skipped === 0) {
      process.exitCode = 1;
      this.failed += 1;
      yield this.#failure("the whole file", "it ended well, but none of its tests came to an end");
    }
    if (type !== "test:fail") return;
    const { error } = details;
    if (error.failureType === "subtestsFailed") return;
    // A process with a failed test ends with an error because of that.
    if (error.exitCode === 1 && this.failed > 0 && this.#running.size === 0) return;
    this.failed += 1;
    const end = error.signal ? ` (killed by ${error.signal})` : error.exitCode ? ` (exit code ${error.exitCode})` : "";
    const said = [describe(error.cause ?? error) + end, ...this.#whereItWas(), ...diagnostics, ...this.stderr.slice(-STDERR_LINES_MAX)];
    yield this.#failure("the whole file", said.join("\n"));
  }

  #whereItWas() {
    const running = [...this.#running.values()];
    const nesting = Math.max(...running.map((test) => test.nesting));
    if (running.length > 0) return running.filter((test) => test.nesting === nesting).map(({ name }) => `while this ran: ${name}`);
    return this.passed > 0 ? ["after its tests had ended"] : [];
  }

  #failure(name, said) {
    return `failed: ${this.name}: ${name}\n    ${said.trimEnd().replaceAll("\n", "\n    ")}\n`;
  }
}

/** Of what a file's process said, the end, where the reason is. */
const STDERR_LINES_MAX = 12;

function describe(error) {
  const place = error.stack?.split("\n").find((line) => /\.test\.m?js/.test(line))?.trim();
  return [error.message ?? String(error), place].filter(Boolean).join("\n");
}
