/** A channel's part in a line, event by event. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Subscription } from "../src/subscription.js";

/** What happens: each returns what is done about it, if something is. */
type Happening = (subscription: Subscription) => string | null | void;

const want: Happening = (subscription) => subscription.settle(true, true);
const unwant: Happening = (subscription) => subscription.settle(false, true);
const began = (offset: string) => (subscription: Subscription) => subscription.began(offset);
const entry = (offset: string) => (subscription: Subscription) =>
  subscription.hears && subscription.entry(offset) ? `entry ${offset}` : null;
const gap = (oldest: string) => (subscription: Subscription) => {
  if (subscription.hears) subscription.cursor = oldest;
};
const lost: Happening = (subscription) => subscription.lost();
const left: Happening = (subscription) => subscription.left();
const refused: Happening = (subscription) => subscription.refused();
const end: Happening = (subscription) => (subscription.end(null) ? "end" : null);

const CASES: readonly [name: string, cursor: string | null, happenings: Happening[], done: string[], after: string | null][] = [
  ["where it begins first is where reading starts", null, [want, began("4")], ["subscribe"], "4"],
  ["what is wanted already is not subscribed again", null, [want, want, began("4"), want], ["subscribe"], "4"],
  ["nothing is sent without a line", null, [(it) => it.settle(true, false), (it) => it.settle(false, false)], [], null],
  ["an entry that was seen is not delivered again", "4", [want, began("4"), entry("4"), entry("3"), entry("5"), entry("5")], ["subscribe", "entry 5"], "5"],
  ["entries that come before it begins are of an earlier one", "4", [want, entry("7"), began("4"), entry("5")], ["subscribe", "entry 5"], "5"],
  ["a gap goes on at the oldest, also in an epoch with lower offsets", "7", [want, began("2"), gap("2"), entry("3")], ["subscribe", "entry 3"], "3"],
  ["what comes after leaving is read again later", "4", [want, began("4"), unwant, entry("5"), left, want], ["subscribe", "unsubscribe", "subscribe"], "4"],
  ["it is not joined again before leaving was answered", "4", [want, began("4"), unwant, want, left, want], ["subscribe", "unsubscribe", "subscribe"], "4"],
  ["one that was left before it began is not mistaken for the next", null, [want, unwant, left, want, began("4"), entry("5"), began("6"), entry("7")], ["subscribe", "unsubscribe", "subscribe", "entry 7"], "7"],
  ["one that begins twice, since its request came twice, is one", "4", [want, began("4"), entry("5"), began("4"), entry("5"), entry("6")], ["subscribe", "entry 5", "entry 6"], "6"],
  ["one that was refused for now is asked for again", "4", [want, refused, want, began("4"), entry("5")], ["subscribe", "subscribe", "entry 5"], "5"],
  ["a lost line keeps the cursor", "4", [want, began("4"), entry("5"), lost, entry("6"), want], ["subscribe", "entry 5", "subscribe"], "5"],
  ["nothing that was asked for on a lost line begins on the next", "4", [want, lost, want, began("4"), entry("5")], ["subscribe", "subscribe", "entry 5"], "5"],
  ["nothing follows the end", "4", [want, began("4"), end, entry("5"), lost, want, end], ["subscribe", "end"], "4"],
];

for (const [name, cursor, happenings, done, after] of CASES) {
  test(name, () => {
    const subscription = new Subscription();
    subscription.cursor = cursor;
    const seen = happenings.map((happening) => happening(subscription)).filter((what) => what);
    assert.deepEqual([seen, subscription.cursor], [done, after]);
  });
}
