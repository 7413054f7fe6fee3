// What a page pays for the client: the shipped file, minified and gzipped. Exits with 1 beyond the budget.
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

/** In bytes. Raise it only with a reason that a user of the client would accept. */
export const BUDGET = 8_192;

export const size = gzipSync(readFileSync(new URL("dist/index.js", import.meta.url)), { level: 9 }).length;

if (process.argv[1] === new URL(import.meta.url).pathname) {
  console.log(`${size} bytes gzipped, of ${BUDGET}`);
  process.exitCode = size > BUDGET ? 1 : 0;
}
