// How rows are ordered, searched and filtered.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { byName, natural, select, tally } from '../../src/ui/pure/sorting.js';
import { forAll } from './random.mjs';

/** @typedef {{name: string, zone: string, size: number}} Row */

/** @param {import('./random.mjs').Random} random @returns {Row[]} */
const rowsOf = (random) =>
  random.list(20, () => ({
    name: `web-${random.below(30)}`,
    zone: random.pick(['a', 'b', '']),
    size: random.below(5),
  }));

const ALL = { text: '', search: (/** @type {Row} */ row) => row.name, filters: [], isDown: false };

test('numbers in names are compared as numbers, and case does not count', () => {
  const names = ['web-10', 'Web-2', 'web-9', 'db', 'web-010b'];
  const sorted = names.map((name) => ({ name })).sort(byName);
  assert.deepEqual(
    sorted.map(({ name }) => name),
    ['db', 'Web-2', 'web-9', 'web-10', 'web-010b'],
  );
  assert.equal(natural('A'), natural('a'));
});

test('rows are in the order of the column, in both directions, and none is lost', () => {
  forAll((random) => {
    const rows = rowsOf(random);
    const isDown = random.pick([true, false]);
    const found = select(rows, { ...ALL, value: (row) => row.size, isDown });
    assert.deepEqual(new Set(found), new Set(rows));
    for (let i = 1; i < found.length; i++) {
      const [first, second] = isDown ? [found[i], found[i - 1]] : [found[i - 1], found[i]];
      assert(first.size <= second.size);
    }
  });
});

test('rows with equal values keep their order in both directions', () => {
  const rows = ['x', 'y', 'z'].map((name) => ({ name, zone: '', size: 1 }));
  for (const isDown of [true, false]) {
    assert.deepEqual(select(rows, { ...ALL, value: (row) => row.size, isDown }), rows);
  }
});

test('only rows that match all filters and the search are found', () => {
  forAll((random) => {
    const rows = rowsOf(random);
    const zone = random.pick(['a', 'b', 'c', null]);
    const text = random.pick(['', 'WEB-1', '2', 'nothing']);
    const filters = [{ wanted: zone, value: (/** @type {Row} */ row) => row.zone }];
    const found = select(rows, { ...ALL, text, filters, value: (row) => row.name });
    const expected = rows.filter(
      (row) => (!zone || row.zone === zone) && row.name.includes(text.toLowerCase()),
    );
    assert.deepEqual(new Set(found), new Set(expected));
  });
});

test('the rows themselves are left as they are', () => {
  const rows = [2, 1].map((size) => ({ name: 'x', zone: '', size }));
  select(rows, { ...ALL, value: (row) => row.size });
  assert.deepEqual(
    rows.map(({ size }) => size),
    [2, 1],
  );
});

test('a filter offers each value once, with the number of its rows', () => {
  forAll((random) => {
    const rows = rowsOf(random);
    const options = tally(
      rows,
      (row) => row.zone,
      (zone) => `Zone ${zone}`,
    );
    const filled = rows.filter(({ zone }) => zone);
    assert.equal(
      options.reduce((sum, { many }) => sum + many, 0),
      filled.length,
    );
    assert.deepEqual(
      options.map(({ value }) => value),
      [...new Set(filled.map(({ zone }) => zone))].sort(),
    );
    assert(options.every(({ value, name }) => name === `Zone ${value}`));
  });
});
