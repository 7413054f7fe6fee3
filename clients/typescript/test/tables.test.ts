/** The small rules, each as a table. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { backoffMs } from "../src/backoff.js";
import { expiryOf, refreshAt } from "../src/credential.js";
import { type Ending, judge } from "../src/ending.js";
import { plan } from "../src/line_state.js";
import { parseMessage } from "../src/message.js";
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
  const closed = (code: number, reason = ""): Ending => ({ kind: "closed", code, reason });
  const refused = (status: number, type?: string, afterMs: number | null = null): Ending => ({
    kind: "refused",
    status,
    problem: type === undefined ? null : { type },
    afterMs,
  });
  const rows: readonly [Ending, string, (number | null)?][] = [
    [closed(1006), "wire"],
    [closed(1000), "server", null],
    [closed(1001, "the server is stopping; reconnect after 2503 ms"), "server", 2503],
    [closed(1013), "server", null],
    [closed(4408), "server", null],
    [closed(4429), "server", null],
    [closed(4400), "stop"],
    [closed(4401), "credential"],
    [closed(4403), "stop"],
    [closed(4410), "stop"],
    [refused(400), "wire"],
    [refused(400, "bad-request"), "stop"],
    [refused(401), "credential"],
    [refused(403), "wire"],
    [refused(403, "forbidden"), "stop"],
    [refused(426, "upgrade-required"), "wire"],
    [refused(429, "too-many", 3_000), "server", 3_000],
    [refused(502), "server", null],
    [refused(503, "stopping", 1_000), "server", 1_000],
    [{ kind: "cut" }, "wire"],
    [{ kind: "unreachable" }, "server", null],
    [{ kind: "foreign" }, "wire"],
  ];
  for (const [ending, blame, afterMs] of rows) {
    const verdict = judge(ending);
    assert.equal(verdict.blame, blame, JSON.stringify(ending));
    if (verdict.blame === "server") assert.equal(verdict.afterMs, afterMs, JSON.stringify(ending));
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
    [jwt({ exp: 1_000 }), null],
    [jwt({}), null],
    ["an opaque key", null],
    ["a.b.c", null],
  ] as const) {
    assert.equal(expiryOf(token, 1_000_000), expected, token);
  }
});

test("a token is replaced some time before its end, and a short-lived one at half its life", () => {
  for (const [expiresAt, expected] of [
    [100_000, 70_000],
    [20_000, 10_000],
    [null, null],
  ] as const) {
    assert.equal(refreshAt({ state: "held", expiresAt }, 0, 30_000), expected);
  }
});

test("what is no message of a session is told from one that is", () => {
  for (const [text, good] of [
    ['{"ev":"entry","channel":"a","offset":"1","time":1,"data":2}', true],
    ['{"ev":"something new"}', true],
    ['{"re":1,"ok":{}}', true],
    ["{}", true],
    ['{"ev":"entry","channel":"a"}', false],
    ['{"re":1}', false],
    ["[1]", false],
    ["null", false],
    ["<h1>please log in</h1>", false],
  ] as const) {
    assert.equal(parseMessage(text) !== null, good, text);
  }
});
