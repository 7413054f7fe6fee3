/** A channel's part in a line, event by event. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type LineOrder, Subscription } from "../src/subscription.js";

/** What happens: each returns what is done about it, if something is. */
type Happening = (subscription: Subscription) => string | null | void;

const settle = (wanted: boolean, line: LineOrder) => (subscription: Subscription) => subscription.settle(wanted, line);
const want = settle(true, "ordered");
const unwant = settle(false, "ordered");
const joined = (offset: string) => (subscription: Subscription) => subscription.joined(offset);
const entry = (offset: string) => (subscription: Subscription) =>
  subscription.hears && subscription.entry(offset) ? `entry ${offset}` : null;
const gap = (oldest: string) => (subscription: Subscription) => {
  if (subscription.hears) subscription.cursor = oldest;
};
const lost: Happening = (subscription) => subscription.lost();
const left: Happening = (subscription) => subscription.left();
const end: Happening = (subscription) => (subscription.end(null) ? "end" : null);

const CASES: readonly [name: string, cursor: string | null, happenings: Happening[], done: string[], after: string | null][] = [
  ["the first reply tells where reading starts", null, [want, joined("4")], ["subscribe"], "4"],
  ["what is wanted already is not subscribed again", null, [want, want], ["subscribe"], null],
  ["nothing is sent without a line", null, [settle(true, "closed"), settle(false, "closed")], [], null],
  ["an entry that was seen is not delivered again", "4", [want, joined("4"), entry("4"), entry("3"), entry("5"), entry("5")], ["subscribe", "entry 5"], "5"],
  ["entries may come before the reply", "4", [want, entry("5"), joined("4"), entry("6")], ["subscribe", "entry 5", "entry 6"], "6"],
  ["a first reply that comes late does not turn back", null, [want, entry("5"), joined("4"), entry("5")], ["subscribe", "entry 5"], "5"],
  ["a gap goes on at the oldest, also in an epoch with lower offsets", "7", [want, joined("2"), gap("2"), entry("3")], ["subscribe", "entry 3"], "3"],
  ["a gap may come before its reply", "7", [want, gap("2"), entry("3"), joined("2"), entry("4")], ["subscribe", "entry 3", "entry 4"], "4"],
  ["what comes after leaving is read again later", "4", [want, joined("4"), unwant, entry("5"), left, want], ["subscribe", "unsubscribe", "subscribe"], "4"],
  ["it is not joined again before leaving was answered", "4", [want, joined("4"), unwant, want, left, want], ["subscribe", "unsubscribe", "subscribe"], "4"],
  ["it is joined again on a new session where late entries may still come", "4", [want, unwant, left, settle(true, "racing"), lost, want], ["subscribe", "unsubscribe", "renew", "subscribe"], "4"],
  ["a lost line keeps the cursor", "4", [want, joined("4"), entry("5"), lost, entry("6"), want], ["subscribe", "entry 5", "subscribe"], "5"],
  ["nothing follows the end", "4", [want, end, entry("5"), lost, want, end], ["subscribe", "end"], "4"],
];

for (const [name, cursor, happenings, done, after] of CASES) {
  test(name, () => {
    const subscription = new Subscription();
    subscription.cursor = cursor;
    const seen = happenings.map((happening) => happening(subscription)).filter((what) => what);
    assert.deepEqual([seen, subscription.cursor], [done, after]);
  });
}
