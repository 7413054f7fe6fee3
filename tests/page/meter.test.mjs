import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Meter } from '../../crates/everwire-server/src/page/meter.js';

test('a quantile is a latency that was measured', () => {
  const meter = new Meter();
  assert.equal(meter.quantile(0.5), null);
  for (const ms of [5, 1, 4, 2, 3]) meter.latency(ms);
  for (const [share, expected] of [[0.2, 1], [0.5, 3], [0.95, 5], [1, 5]]) {
    assert.equal(meter.quantile(share), expected, `share ${share}`);
  }
});

test('only the last hundred latencies count', () => {
  const meter = new Meter();
  for (let ms = 1; ms <= 250; ms++) meter.latency(ms);
  assert.equal(meter.quantile(0.01), 151);
  assert.equal(meter.quantile(1), 250);
});

test('bodies and heads are counted apart', () => {
  const meter = new Meter();
  meter.request(500);
  meter.head(300);
  meter.body(42);
  assert.deepEqual([meter.requests, meter.headBytes, meter.bodyBytes, meter.bytes], [1, 800, 42, 842]);
});
