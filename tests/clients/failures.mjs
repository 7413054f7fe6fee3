// A reporter for `node --test` that says one line per file when all is well, and everything about what is not.

import { basename } from "node:path";

export default async function* failures(source) {
  const files = new Map();
  for await (const { type, data } of source) {
    if (type === "test:stderr" || type === "test:stdout") yield data.message;
    if (type !== "test:pass" && type !== "test:fail") continue;

    const file = basename(data.file ?? data.name);
    if (!files.has(file)) files.set(file, { passed: 0, failed: 0, skipped: 0, said: new Set() });
    const count = files.get(file);
    const isTest = data.details.type !== "suite" && data.name !== data.file;
    if (type === "test:pass") {
      if (isTest) count[data.skip || data.todo ? "skipped" : "passed"] += 1;
      continue;
    }

    const { error } = data.details;
    // A suite that only passes on the failure of its tests adds nothing to them.
    if (!isTest && error.failureType === "subtestsFailed") continue;
    if (isTest) count.failed += 1;
    // What a failed hook cancelled is counted; the hook itself is reported, once.
    if (error.failureType === "cancelledByParent") continue;
    const said = describe(error.cause ?? error);
    if (!isTest && count.said.has(said)) continue;
    count.said.add(said);
    yield `failed: ${file}: ${isTest ? data.name : error.message}\n    ${said.replaceAll("\n", "\n    ")}\n`;
  }
  for (const [file, { passed, failed, skipped }] of [...files].sort()) {
    yield `${file}: ${passed} passed, ${failed} failed${skipped ? `, ${skipped} skipped` : ""}\n`;
  }
}

function describe(error) {
  const place = error.stack?.split("\n").find((line) => /\.test\.m?js/.test(line))?.trim();
  return [error.message ?? String(error), place].filter(Boolean).join("\n");
}
