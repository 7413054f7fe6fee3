import assert from "node:assert/strict";
import { test } from "node:test";
import { eventStream, type Framing, ndjson } from "../src/wire/framing.js";

const CASES: readonly [name: string, framing: (onMessage: (text: string) => void) => Framing, text: string, messages: readonly string[]][] = [
  ["ndjson", ndjson, '{"a":1}\n{}\n\n{"b":"\\n"}\r\n', ['{"a":1}', "{}", '{"b":"\\n"}']],
  ["event streams with LF", eventStream, ': c\n\ndata: {"a":1}\n\nid: 7\ndata:{"b":2}\n\n', ['{"a":1}', '{"b":2}']],
  ["event streams with CR LF", eventStream, 'retry: 9\r\n\r\ndata: {"a":1}\r\n\r\n', ['{"a":1}']],
  ["event streams with CR", eventStream, 'data: {"a":\rdata: 1}\r\rdata: 2\r\r:', ['{"a":\n1}', "2"]],
  ["event streams that end in the middle", eventStream, 'data: 1\n\ndata: {"un', ["1"]],
];

for (const [name, framing, text, messages] of CASES) {
  test(`${name} give the same messages wherever they are cut`, () => {
    for (let first = 0; first <= text.length; first += 1) {
      for (let second = first; second <= text.length; second += 1) {
        const seen: string[] = [];
        const take = framing((message) => seen.push(message));
        for (const piece of [text.slice(0, first), text.slice(first, second), text.slice(second)]) assert.ok(take(piece));
        assert.deepEqual(seen, messages, `cut at ${first} and ${second}`);
      }
    }
  });
}

test("a stream without line ends is given up before it fills the memory", () => {
  const take = ndjson(() => {});
  const mebi = "x".repeat(2 ** 20);
  let pieces = 0;
  while (take(mebi)) pieces += 1;
  assert.equal(pieces, 16);
});
