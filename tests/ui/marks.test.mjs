// Looking marks of the time line up.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { indexAt, indexOf, markOf } from '../../src/ui/pure/marks.js';
import { forAll } from './random.mjs';

/** @param {number} seq @param {number} at */
const mark = (seq, at) => ({ seq, at, group: 'other', kind: 'X', event: null });

test('the last mark at or before a moment is found as by looking at each', () => {
  forAll((random) => {
    let [seq, at] = [0, 0];
    const marks = random.list(30, () =>
      mark((seq += 1 + random.below(3)), (at += random.below(3))),
    );
    const wanted = random.below(at + 3) - 1;
    assert.equal(
      indexAt(marks, wanted),
      marks.findLastIndex((one) => one.at <= wanted),
    );
    assert.equal(
      indexOf(marks, wanted),
      marks.findLastIndex((one) => one.seq <= wanted),
    );
  });
});

test('a mark has the time and the lane of its event', () => {
  const event = {
    seq: 7,
    id: 'x',
    at: '2026-11-22T12:00:00Z',
    actor: { type: 'reactor', name: 'monitor' },
    kind: 'NodeUnhealthy',
    data: {},
    says: '',
  };
  const expected = { seq: 7, at: Date.parse(event.at), group: 'trouble', kind: event.kind, event };
  assert.deepEqual(markOf(event), expected);
});
