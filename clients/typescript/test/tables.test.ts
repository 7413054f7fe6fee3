/** The small rules, each as a table. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { backoffMs } from "../src/backoff.js";
import { expiryOf, refreshAt } from "../src/credential.js";
import { CUT, FOREIGN, judge } from "../src/ending.js";
import { plan } from "../src/line_state.js";
import { asMessage } from "../src/message.js";
import { WIRES, type WireName } from "../src/settings.js";

test("waits are evenly spread up to a limit that doubles to its maximum", () => {
  for (const [roll, attempt, expected] of [
    [0, 5, 0],
    [0.5, 0, 500],
    [0.5, 3, 4_000],
    [0.5, 5, 15_000],
    [0.5, 5_000, 15_000],
  ] as const) {
    assert.equal(backoffMs(roll, attempt, 1_000, 30_000), expected, `roll ${roll}, attempt ${attempt}`);
  }
});

test("an ending blames the wire, the server, the credential or us", () => {
  const rows: readonly [code: number, problem: string | null, blame: string][] = [
    [0, null, "server"],
    [CUT.code, null, "wire"],
    [FOREIGN.code, null, "wire"],
    [400, null, "wire"],
    [400, "bad-request", "stop"],
    [401, null, "credential"],
    [401, "unauthorized", "credential"],
    [403, null, "wire"],
    [403, "forbidden", "stop"],
    [408, null, "server"],
    [409, "replaced", "server"],
    [413, "too-large", "server"],
    [426, "upgrade-required", "wire"],
    [429, "too-many", "server"],
    [502, null, "server"],
    [503, "stopping", "server"],
    [1000, null, "server"],
    [1001, null, "server"],
    [1006, null, "wire"],
    [1009, null, "server"],
    [1013, null, "server"],
    [4400, null, "stop"],
    [4401, null, "credential"],
    [4403, null, "stop"],
    [4408, null, "server"],
    [4409, null, "server"],
    [4410, null, "stop"],
    [4429, null, "server"],
  ];
  for (const [code, type, blame] of rows) {
    assert.equal(judge({ code, reason: "", problem: type === null ? null : { type } }), blame, `${code} ${type}`);
  }
});

test("the preferred wire comes first, and the others take turns after it", () => {
  const [websocket, events, ndjson, poll] = WIRES as [WireName, WireName, WireName, WireName];
  for (const [preferred, attempt, expected] of [
    [websocket, 0, [websocket, events, ndjson, poll]],
    [websocket, 1, [websocket, ndjson, poll, events]],
    [websocket, 2, [websocket, poll, events, ndjson]],
    [poll, 0, [poll, websocket, events, ndjson]],
  ] as const) {
    assert.deepEqual(plan(WIRES, preferred, attempt), expected, `${preferred}, attempt ${attempt}`);
  }
  assert.deepEqual(plan(["ndjson"], "websocket", 3), ["ndjson"], "a remembered wire that may not be used");
});

test("the end of a token is read from it, where it has one that this clock can believe", () => {
  const jwt = (claims: object) => `head.${btoa(JSON.stringify(claims)).replace(/=+$/, "")}.signature`;
  for (const [token, expected] of [
    [jwt({ exp: 2_000 }), 2_000_000],
    [jwt({ exp: 2_000, name: "ÿ?>" }), 2_000_000],
    [jwt({ exp: 1_000 }), Infinity],
    [jwt({}), Infinity],
    ["", Infinity],
    ["an opaque key", Infinity],
    ["a.b.c", Infinity],
  ] as const) {
    assert.equal(expiryOf(token, 1_000_000), expected, token);
  }
});

test("a token is replaced some time before its end, and a short-lived one at half its life", () => {
  for (const [expiresAt, expected] of [
    [100_000, 70_000],
    [20_000, 10_000],
    [10, 1_000],
    [Infinity, Infinity],
  ] as const) {
    assert.equal(refreshAt(expiresAt, 0, 30_000), expected);
  }
});

test("what is no message of a session is told from one that is", () => {
  for (const [text, good] of [
    ['{"ev":"entry","channel":"a","offset":"1","time":1,"data":2}', true],
    ['{"ev":"something new"}', true],
    ['{"re":1,"ok":{}}', true],
    ['{"re":1,"error":{"type":"forbidden"}}', true],
    ["{}", true],
    ['{"ev":"entry","channel":"a"}', false],
    ['{"ev":"gap","channel":"a"}', false],
    ['{"ev":1}', false],
    ['{"re":1}', false],
    ['{"re":1,"ok":true}', false],
    ["[1]", false],
    ["null", false],
    ["1", false],
    ["<h1>please log in</h1>", false],
  ] as const) {
    const read = () => asMessage(text);
    if (good) assert.doesNotThrow(read, text);
    else assert.throws(read, () => true, text);
  }
});
