import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Log } from '../../crates/everwire-server/src/page/log.js';

const at = (number) => `e${String(number).padStart(5, '0')}`;

test('entries are numbered in log order, whatever order they are learned in', () => {
  const log = new Log();
  for (const number of [3, 1, 2]) log.learn(at(number), number);
  assert.deepEqual([1, 2, 3].map((number) => log.entry(number).data), [1, 2, 3]);
  assert.equal(log.numberOf(at(2)), 2);
  assert.equal(log.tail, at(3));
});

test('an entry is learned of once', () => {
  const log = new Log();
  let told = 0;
  log.onLearn(() => (told += 1));
  assert.equal(log.learn(at(1), 'a'), log.learn(at(1), 'a'));
  assert.equal(log.length, 1);
  assert.equal(told, 1);
});

test('a range leaves out its first offset and takes in its last', () => {
  const log = new Log();
  for (const number of [1, 2, 3, 4]) log.learn(at(number), number);
  const between = (after, upTo) => log.between(after, upTo).map((entry) => entry.data);
  assert.deepEqual(between(at(1), at(3)), [2, 3]);
  assert.deepEqual(between('', at(9)), [1, 2, 3, 4]);
  assert.deepEqual(between(at(4), at(9)), []);
});

test('trimming forgets what all have passed and renumbers nothing', () => {
  const log = new Log();
  for (let number = 1; number <= 100; number++) log.learn(at(number), number);
  log.trim(at(70), 20);
  assert.equal(log.length, 100);
  assert.equal(log.entry(70), undefined);
  assert.equal(log.entry(71).data, 71);
  assert.equal(log.numberOf(at(90)), 90);
});

test('trimming keeps what a cut wire has still to read', () => {
  const log = new Log();
  for (let number = 1; number <= 100; number++) log.learn(at(number), number);
  log.trim(at(5), 20);
  assert.equal(log.entry(6).data, 6);
});

test('the name of an entry may be learned after the entry', () => {
  const log = new Log();
  const told = [];
  let learned = 0;
  log.onName(({ event }) => told.push(event));
  log.onLearn(() => { learned += 1; });
  log.learn(at(1), 'a');
  assert.deepEqual(told, []);
  log.learn(at(1), 'a', 'typing');
  log.learn(at(1), 'a', 'typing');
  log.learn(at(2), 'b', 'typing');
  assert.deepEqual(told, ['typing', 'typing']);
  assert.equal(learned, 2, 'an entry is learned of once');
});
