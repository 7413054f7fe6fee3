/** What is shipped: its size, and that what the build did to names does no harm. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

const ROOT = new URL("../../", import.meta.url);

test("the shipped file stays within its budget", async () => {
  const { size, BUDGET } = (await import(new URL("size.js", ROOT).href)) as { size: number; BUDGET: number };
  assert.ok(size <= BUDGET, `${size} bytes gzipped, of ${BUDGET}`);
});

test("a name that the build shortens is used, and never looked up by a string", async () => {
  const { OWN } = (await import(new URL("build.js", ROOT).href)) as { OWN: readonly string[] };
  const files = (readdirSync(new URL("src", ROOT), { recursive: true }) as string[]).filter((file) => file.endsWith(".ts"));
  const source = files.map((file) => readFileSync(new URL(`src/${file}`, ROOT), "utf8")).join("\n");
  assert.deepEqual([...OWN], [...new Set(OWN)], "each is there once");
  for (const name of OWN) {
    assert.match(source, new RegExp(`[.,{ ]${name}\\b`), name);
    assert.doesNotMatch(source, new RegExp(`"${name}" in |\\["${name}"\\]`), name);
  }
});
