// A moment as people type it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clock } from '../../src/ui/pure/format.js';
import { POINT_EXAMPLES, parsePoint } from '../../src/ui/pure/point.js';
import { forAll } from './random.mjs';

const NOW = new Date(2026, 10, 22, 12, 0).getTime();

test('a number is an event', () => {
  assert.deepEqual(parsePoint('#812', NOW), { seq: 812 });
  assert.deepEqual(parsePoint(' 812 ', NOW), { seq: 812 });
});

test('a duration counts back from now', () => {
  assert.deepEqual(parsePoint('10 min ago', NOW), { at: NOW - 600_000 });
  assert.deepEqual(parsePoint('-1.5h', NOW), { at: NOW - 5_400_000 });
  assert.deepEqual(parsePoint('2 D', NOW), { at: NOW - 2 * 86_400_000 });
});

test('a time of day is the last one that was, and never in the future', () => {
  forAll((random) => {
    const [h, m] = [random.below(24), random.below(60)];
    const typed = `${h}:${String(m).padStart(2, '0')}`;
    const { at = NaN } = parsePoint(typed, NOW) ?? {};
    assert(at <= NOW && at > NOW - 86_400_000, typed);
    assert.equal(clock(at), `${typed.padStart(5, '0')}:00`);
  });
});

test('a date and a time are read in the local time zone', () => {
  const expected = { at: new Date(2026, 10, 20, 3, 2).getTime() };
  assert.deepEqual(parsePoint('2026-11-20 03:02', NOW), expected);
  assert.deepEqual(parsePoint('2026-11-20T03:02', NOW), expected);
});

test('anything else is no moment', () => {
  for (const text of ['', 'soon', '#', '25 parsecs ago']) assert.equal(parsePoint(text, NOW), null);
});

test('the examples that messages give are moments', () => {
  for (const example of POINT_EXAMPLES.split(/, (?:or )?/)) {
    assert(parsePoint(example, NOW), example);
  }
});
