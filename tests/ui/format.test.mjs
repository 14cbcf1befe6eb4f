// Numbers, sizes and times as text.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  ago,
  bytes,
  clock,
  count,
  labelsText,
  moment,
  number,
  span,
} from '../../src/ui/pure/format.js';
import { forAll } from './random.mjs';

test('digits are grouped by three and none is lost', () => {
  assert.equal(number(1234567), '1\u2009234\u2009567');
  forAll((random) => {
    const value = random.below(10 ** (1 + random.below(12)));
    const groups = number(value).split('\u2009');
    assert.equal(groups.join(''), String(value));
    assert(groups.every((group, index) => (index ? group.length === 3 : group.length <= 3)));
  });
});

test('only one thing is in the singular', () => {
  assert.equal(count(0, 'node'), '0 nodes');
  assert.equal(count(1, 'node'), '1 node');
  assert.equal(count(2, 'node'), '2 nodes');
});

test('a size is shown in the largest unit that leaves at least one of it', () => {
  assert.equal(bytes(null), '–');
  assert.equal(bytes(1023), '1023 B');
  assert.equal(bytes(1024), '1.0 KiB');
  assert.equal(bytes(100 * 1024 ** 2), '100 MiB');
  assert.equal(bytes(5000 * 1024 ** 4), '5000 TiB');
  forAll((random) => {
    const value = random.below(2 ** (1 + random.below(48)));
    const [shown, unit] = bytes(value).split(' ');
    const size = 1024 ** ['B', 'KiB', 'MiB', 'GiB', 'TiB'].indexOf(unit);
    assert(Math.abs(Number(shown) * size - value) <= value * 0.05, `${value} is ${shown} ${unit}`);
    assert(value === 0 || value >= size);
  });
});

test('a longer duration never reads as a shorter one', () => {
  assert.equal(span(-5), '0 s');
  assert.equal(span(59_400), '59 s');
  assert.equal(span(90_000), '1 min 30 s');
  assert.equal(span(15 * 60_000), '15 min');
  assert.equal(span(130 * 60_000), '2 h 10 min');
  assert.equal(span(5 * 86_400_000), '5 days');
  const units = { s: 1, min: 60, h: 3600, days: 86400 };
  /** @param {string} text */
  const seconds = (text) =>
    [...text.matchAll(/(\d+) (s|min|h|days)/g)].reduce(
      (sum, [, n, unit]) => sum + Number(n) * units[/** @type {keyof units} */ (unit)],
      0,
    );
  forAll((random) => {
    const [a, b] = [random.below(1e9), random.below(1e9)].sort((x, y) => x - y);
    assert(seconds(span(a)) <= seconds(span(b)), `${span(a)} and ${span(b)}`);
  });
});

test('what is younger than a second and a half happened just now', () => {
  const now = Date.parse('2026-11-22T12:00:00Z');
  assert.equal(ago(now - 1499, now), 'just now');
  assert.equal(ago('2026-11-22T11:59:00Z', now), '1 min ago');
  assert.equal(ago(now + 10_000, now), 'just now', 'a clock that is ahead');
});

test('times are shown in the local time zone, with milliseconds on request', () => {
  const at = new Date(2026, 0, 5, 3, 4, 5, 6).getTime();
  assert.equal(clock(at), '03:04:05');
  assert.equal(clock(at, true), '03:04:05.006');
  assert.equal(moment(at), '2026-01-05 03:04:05');
});

test('labels without a value are shown by their name', () => {
  assert.equal(labelsText({ disk: 'ssd', gpu: '' }), 'disk=ssd, gpu');
  assert.equal(labelsText(null), '');
});
