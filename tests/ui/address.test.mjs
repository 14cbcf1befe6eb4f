// Addresses within the UI.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatAddress, formatQuery, parseAddress } from '../../src/ui/pure/address.js';
import { forAll } from './random.mjs';

test('an address reads back as what it was made from, whatever names hold', () => {
  forAll((random) => {
    const parts = random.list(3, () => random.text(1));
    const query = Object.fromEntries(random.list(3, () => [random.text(1), random.text(1)]));
    const found = parseAddress(formatAddress(parts, query));
    assert.deepEqual(found.parts, parts);
    assert.deepEqual(Object.fromEntries(found.query), query);
  });
});

test('parameters that are null, false or empty are left out, and zero is not', () => {
  const query = { a: null, b: undefined, c: '', d: false, e: 0, f: true, g: 'x y' };
  assert.equal(formatQuery(query), 'e=0&f=true&g=x+y');
  assert.equal(formatAddress([], {}), '#/');
  assert.equal(formatAddress('nodes', { q: '' }), '#/nodes');
});

test('a malformed escape is taken literally', () => {
  assert.deepEqual(parseAddress('#/nodes/100%').parts, ['nodes', '100%']);
});

test('the empty address is the cluster', () => {
  for (const hash of ['', '#', '#/']) assert.deepEqual(parseAddress(hash).parts, []);
});
