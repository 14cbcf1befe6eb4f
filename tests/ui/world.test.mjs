// The cluster as rows.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { World } from '../../src/ui/world.js';
import { forAll } from './random.mjs';

/** @typedef {import('../../src/ui/types.d.ts').ContainerRow} ContainerRow */

/** @param {string} id @param {number} seq @param {Partial<ContainerRow>} [more] */
const container = (id, seq, more = {}) =>
  /** @type {ContainerRow} */ ({ id, name: id, seq, status: 'UP', ...more });

/** @param {World} world */
function checkIndexes(world) {
  for (const [index, field] of /** @type {const} */ ([
    [world.byNode, 'node_id'],
    [world.byApplication, 'application_id'],
  ])) {
    /** @type {Map<string, Map<string, ContainerRow>>} */
    const expected = new Map();
    for (const row of world.containers.values()) {
      const key = row[field];
      if (!key) continue;
      if (!expected.has(key)) expected.set(key, new Map());
      expected.get(key)?.set(row.id, row);
    }
    assert.deepEqual(index, expected, field);
  }
}

test('the indexes have what the rows say, whatever changes come', () => {
  forAll((random) => {
    const world = new World();
    for (let seq = 1; seq < 40; seq++) {
      const id = random.pick(['a', 'b', 'c', 'd']);
      if (random.below(5) === 0) world.remove('containers', id);
      else {
        const node_id = random.pick(['n', 'm', null]);
        const application_id = random.pick(['p', null]);
        world.put('containers', container(id, seq, { node_id, application_id }));
      }
      checkIndexes(world);
    }
  });
});

test('an older row does not replace a newer one, except on a journey through the past', () => {
  const world = new World();
  world.put('containers', container('a', 5));
  world.put('containers', container('a', 4, { status: 'DOWN' }));
  assert.equal(world.containers.get('a')?.status, 'UP');
  world.put('containers', container('a', 4, { status: 'DOWN' }), true);
  assert.equal(world.containers.get('a')?.status, 'DOWN');
});

test('a world becomes the state that it is given', () => {
  forAll((random) => {
    const world = new World();
    for (let turn = 0; turn < 3; turn++) {
      const ids = ['a', 'b', 'c'].filter(() => random.below(2));
      const containers = ids.map((id) =>
        container(id, 1 + random.below(9), { node_id: random.pick(['n', 'm']) }),
      );
      world.become({ seq: 1, nodes: [], applications: [], containers });
      assert.deepEqual([...world.containers.keys()].sort(), ids);
      checkIndexes(world);
    }
  });
});

test('a move is reported with both nodes', () => {
  const world = new World();
  /** @type {unknown[]} */
  const moves = [];
  world.onMove = (row, from, to) => moves.push([row.id, from, to]);
  world.put('containers', container('a', 1, { node_id: 'n' }));
  world.put('containers', container('a', 2, { node_id: 'n' }));
  world.put('containers', container('a', 3, { node_id: 'm' }));
  assert.deepEqual(moves, [['a', 'n', 'm']]);
});

test('as many cards are notified as are asked for, those that wait longest first', () => {
  const world = new World();
  /** @type {string[]} */
  const notified = [];
  for (const id of ['n', 'm', 'o']) {
    let isFirst = true;
    world.card(id).subscribe(() => {
      if (!isFirst) notified.push(id);
      isFirst = false;
    });
  }
  for (const node_id of ['m', 'o', 'n']) {
    world.put('containers', container(`on-${node_id}`, 1, { node_id }));
  }
  assert.equal(world.commitCards(2), true);
  assert.deepEqual(notified.sort(), ['m', 'o']);
  assert.equal(world.commitCards(2), false);
  assert.deepEqual(notified.sort(), ['m', 'n', 'o']);
});

test('a thing is found by its id and by its name', () => {
  const world = new World();
  world.put('containers', container('a', 1, { name: 'web-1' }));
  assert.equal(world.find('containers', 'a')?.id, 'a');
  assert.equal(world.find('containers', 'web-1')?.id, 'a');
  assert.equal(world.find('containers', 'web-2'), null);
  assert.equal(world.name('containers', 'a'), 'web-1');
});
