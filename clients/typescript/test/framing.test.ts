import assert from "node:assert/strict";
import { test } from "node:test";
import { framing } from "../src/wire/framing.js";

const CASES: readonly [name: string, text: string, messages: readonly string[]][] = [
  ["ndjson", '{"a":1}\n{}\n\n{"b":"\\n"}\r\n', ['{"a":1}', "{}", '{"b":"\\n"}']],
  ["event streams", ': c\n\ndata: {"a":1}\n\ndata:{"b":2}\n\n', ['{"a":1}', '{"b":2}']],
  ["event streams with CR LF", ':\r\n\r\ndata: {"a":":"}\r\n\r\n', ['{"a":":"}']],
  ["streams that end in the middle", 'data: 1\n\ndata: {"un', ["1"]],
];

for (const [name, text, messages] of CASES) {
  test(`${name} give the same messages wherever they are cut`, () => {
    for (let first = 0; first <= text.length; first += 1) {
      for (let second = first; second <= text.length; second += 1) {
        const seen: string[] = [];
        const take = framing((message) => seen.push(message));
        for (const piece of [text.slice(0, first), text.slice(first, second), text.slice(second)]) take(piece);
        assert.deepEqual(seen, messages, `cut at ${first} and ${second}`);
      }
    }
  });
}

test("how much waits for the end of its line is told, so that it can be given up before it fills the memory", () => {
  const take = framing(() => {});
  assert.deepEqual(['{"a":', "1", "}\n{", "}\n"].map(take), [5, 6, 1, 0]);
});
