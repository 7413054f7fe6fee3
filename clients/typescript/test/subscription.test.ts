/** A channel's part in a line, event by event. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { stepSubscription, type Subscription, type SubscriptionEvent } from "../src/subscription.js";

/** What happens, and what is done about it: `entry 7`, `gap 5`, `subscribe`, … */
function told(cursor: string | null, events: readonly SubscriptionEvent[]): [done: string[], cursor: string | null] {
  let subscription: Subscription = { state: "off", cursor };
  const done: string[] = [];
  for (const event of events) {
    const [next, effects] = stepSubscription(subscription, event);
    subscription = next;
    for (const effect of effects) {
      if (effect.do === "deliver") done.push(`entry ${next.cursor}`);
      else done.push(effect.do === "tell-gap" ? `gap ${effect.gap.oldest}` : effect.do);
    }
  }
  return [done, subscription.cursor];
}

const join: SubscriptionEvent = { type: "settle", wanted: true, open: true };
const unwant: SubscriptionEvent = { type: "settle", wanted: false, open: true };
const joined = (offset: string, recovered = true): SubscriptionEvent => ({ type: "joined", offset, recovered });
const entry = (offset: string): SubscriptionEvent => ({ type: "entry", offset });
const gap = (oldest: string): SubscriptionEvent => ({ type: "gap", gap: { oldest, newest: "9" } });
const lost: SubscriptionEvent = { type: "lost" };
const left: SubscriptionEvent = { type: "left" };

const CASES: readonly [name: string, cursor: string | null, events: SubscriptionEvent[], done: string[], after: string | null][] = [
  ["the first reply tells where reading starts", null, [join, joined("4")], ["subscribe"], "4"],
  ["an entry that was seen is not delivered again", "4", [join, joined("4"), entry("4"), entry("3"), entry("5"), entry("5")], ["subscribe", "entry 5"], "5"],
  ["entries may come before the reply", "4", [join, entry("5"), joined("4"), entry("6")], ["subscribe", "entry 5", "entry 6"], "6"],
  ["a first reply that comes late does not turn back", null, [join, entry("5"), joined("4"), entry("5")], ["subscribe", "entry 5"], "5"],
  ["a gap goes on at the oldest, also in an epoch with lower offsets", "7", [join, joined("2", false), gap("2"), entry("3")], ["subscribe", "gap 2", "entry 3"], "3"],
  ["a gap that came before its reply is told once", "7", [join, gap("2"), entry("3"), joined("2", false), entry("4")], ["subscribe", "gap 2", "entry 3", "entry 4"], "4"],
  ["a gap of which only the reply speaks is told before the next entry", "7", [join, joined("2", false), entry("3")], ["subscribe", "gap 2", "entry 3"], "3"],
  ["a first subscription has nothing to miss", null, [join, joined("2", false), entry("3")], ["subscribe", "entry 3"], "3"],
  ["what comes after leaving is read again later", "4", [join, joined("4"), unwant, entry("5"), left, join], ["subscribe", "unsubscribe", "subscribe"], "4"],
  ["it is not joined again before leaving was answered", "4", [join, joined("4"), unwant, join, left, join], ["subscribe", "unsubscribe", "subscribe"], "4"],
  ["a lost line keeps the cursor", "4", [join, joined("4"), entry("5"), lost, entry("6"), join], ["subscribe", "entry 5", "subscribe"], "5"],
  ["nothing follows the end", "4", [join, { type: "end", error: null }, entry("5"), join], ["subscribe", "end"], "4"],
];

for (const [name, cursor, events, done, after] of CASES) {
  test(name, () => assert.deepEqual(told(cursor, events), [done, after]));
}
