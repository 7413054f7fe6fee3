import assert from "node:assert/strict";
import { test } from "node:test";

test("the shipped file stays within its budget", async () => {
  const script = new URL("../../size.js", import.meta.url).href;
  const { size, BUDGET } = (await import(script)) as { size: number; BUDGET: number };
  assert.ok(size <= BUDGET, `${size} bytes gzipped, of ${BUDGET}`);
});
