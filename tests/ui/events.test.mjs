// What kinds of events there are.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readFileSync } from 'node:fs';
import { FACTS, GROUPS, actorName, groupOf, subjectsOf } from '../../src/ui/pure/events.js';

const PERSON = { type: 'anonymous' };
const REACTOR = { type: 'reactor', name: 'launcher' };

/** @param {Record<string, unknown>} data */
const event = (data) => ({ seq: 1, id: '', at: '', actor: PERSON, kind: 'X', data, says: '' });

test('each lane has facts only, and no fact is in two lanes', () => {
  const kinds = Object.values(GROUPS).flatMap((group) => group.kinds);
  assert.equal(new Set(kinds).size, kinds.length);
  assert.deepEqual(
    kinds.filter((kind) => !FACTS.includes(kind)),
    [],
  );
  assert.equal(new Set(FACTS).size, FACTS.length);
  assert(!FACTS.includes('NodeObserved'), 'a raw observation is no fact');
});

test('the facts are those of the log', () => {
  const path = new URL('../../events/src/envelope.rs', import.meta.url);
  const declared = readFileSync(path, 'utf8').matchAll(/^ {4}(\w+): Fact = \d+,$/gm);
  assert.deepEqual(FACTS.toSorted(), Array.from(declared, ([, kind]) => kind).sort());
});

test('what people ask for is in their lane, and what reactors do is not', () => {
  assert.equal(groupOf({ kind: 'NodeCordoned', actor: PERSON }), 'people');
  assert.equal(groupOf({ kind: 'NodeCordoned', actor: REACTOR }), 'other');
  assert.equal(groupOf({ kind: 'ContainerStopped', actor: PERSON }), 'other', 'a consequence');
});

test('a failure is in the lane of trouble, whoever reports it', () => {
  for (const actor of [PERSON, REACTOR]) {
    assert.equal(groupOf({ kind: 'NodeUnhealthy', actor }), 'trouble');
  }
});

test('an actor without a name is called by its type', () => {
  assert.equal(actorName(REACTOR), 'launcher');
  assert.equal(actorName(PERSON), 'anonymous');
  assert.equal(actorName(undefined), 'unknown');
});

test('an event is about each thing that it names, once', () => {
  const moved = { container_id: 'c', node_id: 'n', from_node_id: 'm', application_id: 'a' };
  assert.deepEqual(subjectsOf(event(moved)), [
    ['containers', 'c'],
    ['nodes', 'n'],
    ['nodes', 'm'],
    ['applications', 'a'],
  ]);
  assert.deepEqual(subjectsOf(event({ node_id: 'n', from_node_id: 'n' })), [['nodes', 'n']]);
  assert.deepEqual(subjectsOf(event({})), []);
});
