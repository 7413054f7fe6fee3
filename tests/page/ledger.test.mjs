import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Ledger } from '../../crates/everwire-server/src/page/ledger.js';
import { Log } from '../../crates/everwire-server/src/page/log.js';

const at = (number) => `e${String(number).padStart(4, '0')}`;
const data = (number) => ({ text: `entry ${number}` });

function accounts() {
  const log = new Log();
  return { log, truth: new Ledger(log, at(0)), wire: new Ledger(log, at(0)) };
}

function deliver(ledger, numbers) {
  for (const number of numbers) ledger.receive(at(number), data(number));
}

function check({ received, lost, doubled, unchecked, inOrder }, expected, what) {
  const found = { received, lost, doubled, unchecked, inOrder };
  assert.deepEqual(found, { lost: 0, doubled: 0, unchecked: 0, inOrder: true, ...expected }, what);
}

test('a wire that reads again for what it missed counts that alone', () => {
  const log = new Log();
  const [deaf, other] = [new Ledger(log, at(0)), new Ledger(log, at(0))];
  deaf.receive(at(1), 'a');
  deaf.receive(at(3), 'c');
  for (const n of [1, 2, 3]) other.receive(at(n), 'abc'[n - 1]);
  assert.equal(deaf.lost, 1);
  assert.ok(deaf.hasPassed(at(2)));
  assert.equal(deaf.from, at(3));
  deaf.missed(at(2));
  assert.equal(deaf.from, at(1));
  for (const n of [2, 3, 4]) deaf.receive(at(n), 'abcd'[n - 1]);
  assert.deepEqual([deaf.received, deaf.lost, deaf.doubled, deaf.inOrder], [4, 0, 0, true]);
  assert.equal(deaf.from, at(4), 'and goes on from where it stands');
  deaf.receive(at(4), 'd');
  assert.equal(deaf.doubled, 1, 'what comes twice by itself still counts');
});

test('a wire that names offsets is held against what the others showed', () => {
  for (const [what, delivered, expected] of [
    ['all of them', [1, 2, 3, 4], { received: 4 }],
    ['one left out', [1, 2, 4], { received: 3, lost: 1 }],
    ['still on its way', [1, 2], { received: 2 }],
    ['one twice', [1, 2, 2, 3, 4], { received: 5, doubled: 1 }],
    ['from the beginning again', [1, 2, 3, 4, 1, 2, 3, 4], { received: 8, doubled: 4 }],
    ['two swapped', [1, 3, 2, 4], { received: 4, inOrder: false }],
  ]) {
    const { truth, wire } = accounts();
    deliver(truth, [1, 2, 3, 4]);
    deliver(wire, delivered);
    check(wire, expected, what);
  }
});

test('a loss is found also when the proof comes later', () => {
  const { truth, wire } = accounts();
  deliver(wire, [1, 4]);
  check(wire, { received: 2 });
  deliver(truth, [1, 2, 3, 4]);
  check(wire, { received: 2, lost: 2 });
});

test('an entry whose name is learned later is owed once', () => {
  const { log, wire } = accounts();
  log.learn(at(1), data(1));
  deliver(wire, [1]);
  log.learn(at(1), data(1), 'typing');
  check(wire, { received: 1 });
});

test('what this page published is owed, though no wire showed it', () => {
  const { log, wire } = accounts();
  log.learn(at(2), data(2));
  deliver(wire, [1, 3]);
  check(wire, { received: 2, lost: 1 });
});

test('entries before the start, and beyond the cursor, are not owed', () => {
  const log = new Log();
  const truth = new Ledger(log, at(0));
  const wire = new Ledger(log, at(2));
  deliver(truth, [1, 2, 3, 4, 5]);
  deliver(wire, [3, 4]);
  check(wire, { received: 2 });
});

test('entries in a gap that was told are not lost, whenever they are learned of', () => {
  for (const before of [true, false]) {
    const { truth, wire } = accounts();
    deliver(wire, [1]);
    if (before) deliver(truth, [1, 2, 3, 4, 5]);
    wire.skipTo(at(3));
    deliver(wire, [4, 5]);
    if (!before) deliver(truth, [1, 2, 3, 4, 5]);
    check(wire, { received: 3 }, before ? 'before' : 'after');
    assert.equal(wire.gaps, 1);
  }
});

test('a wire that answers with ranges is matched payload by payload', () => {
  for (const [what, payloads, expected] of [
    ['all of them', [1, 2, 3, 4], { received: 4 }],
    ['one left out', [1, 2, 4], { received: 3, lost: 1 }],
    ['one twice', [1, 2, 2, 3, 4], { received: 5, doubled: 1 }],
    ['two swapped', [1, 3, 2, 4], { received: 4, inOrder: false }],
    ['one the log does not hold', [1, 2, 9, 3, 4], { received: 5, doubled: 1 }],
  ]) {
    for (const truthFirst of [true, false]) {
      const { truth, wire } = accounts();
      if (truthFirst) deliver(truth, [1, 2, 3, 4]);
      wire.receiveRange(at(4), payloads.map(data));
      if (!truthFirst) deliver(truth, [1, 2, 3, 4]);
      check(wire, expected, `${what}, ${truthFirst ? 'known before' : 'learned after'}`);
    }
  }
});

test('a range waits for the log and says so', () => {
  const { truth, wire } = accounts();
  wire.receiveRange(at(2), [data(1), data(2)]);
  check(wire, { received: 2, unchecked: 2 });
  deliver(truth, [1]);
  check(wire, { received: 2, unchecked: 2 });
  deliver(truth, [2]);
  check(wire, { received: 2 });
});

test('a range of one entry names it, so that a lone wire is enough to know the log', () => {
  const { log, wire } = accounts();
  for (const number of [1, 2, 3]) wire.receiveRange(at(number), [data(number)]);
  check(wire, { received: 3 });
  assert.equal(log.length, 3);
});

test('a text channel answers with its entries run together, which is as many as the log holds there', () => {
  for (const [what, text, expected] of [
    ['all of them', 'abc', { received: 3 }],
    ['one left out', 'ac', { received: 1, lost: 3, doubled: 1 }],
  ]) {
    for (const truthFirst of [true, false]) {
      const { truth, wire } = accounts();
      const tell = () => ['a', 'b', 'c'].forEach((letter, index) => truth.receive(at(index + 1), letter));
      if (truthFirst) tell();
      wire.receiveRun(at(3), text);
      if (!truthFirst) tell();
      check(wire, expected, `${what}, ${truthFirst ? 'known before' : 'learned after'}`);
    }
  }
});

test('equal payloads are different entries', () => {
  const { truth, wire } = accounts();
  for (const number of [1, 2, 3]) truth.receive(at(number), 'same');
  wire.receiveRange(at(3), ['same', 'same', 'same']);
  check(wire, { received: 3 });
});

test('however a log is cut into answers, each entry is received once', () => {
  const length = 9;
  const numbers = Array.from({ length }, (_, index) => index + 1);
  for (let cuts = 0; cuts < 1 << (length - 1); cuts++) {
    const { truth, wire } = accounts();
    let first = 1;
    for (const number of numbers) {
      truth.receive(at(number), data(number));
      const ends = number === length || (cuts >> (number - 1)) & 1;
      if (!ends) continue;
      wire.receiveRange(at(number), numbers.slice(first - 1, number).map(data));
      first = number + 1;
    }
    check(wire, { received: length }, `cuts ${cuts.toString(2)}`);
  }
});

/** A wire that loses and doubles at random, and a model that simply keeps all it saw in a list. */
test('any sequence of faults is counted as a naive model counts it', () => {
  for (let seed = 1; seed <= 300; seed++) {
    const random = generator(seed);
    const { truth, wire } = accounts();
    const seen = [];
    let cursor = 0;
    for (let step = 0; step < 40; step++) {
      const known = step + 1;
      deliver(truth, [known]);
      const dice = random();
      const number = dice < 0.15 ? Math.max(1, known - Math.floor(random() * 4)) : known;
      if (dice > 0.85) continue;
      deliver(wire, [number]);
      seen.push(number);
      cursor = Math.max(cursor, number);
    }
    const distinct = new Set(seen);
    assert.equal(wire.doubled, seen.length - distinct.size, `doubled, seed ${seed}`);
    assert.equal(wire.lost, cursor - distinct.size, `lost, seed ${seed}`);
    const orderly = seen.every((number, index) => index === 0 || seen.slice(0, index).includes(number)
      || number > Math.max(...seen.slice(0, index)));
    assert.equal(wire.inOrder, orderly, `order, seed ${seed}`);
  }
});

/** Park and Miller's generator: the same numbers for the same seed, on every machine. */
function generator(seed) {
  let state = seed;
  return () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
}
