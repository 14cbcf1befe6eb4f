// Environment variables: read from rows, and masked.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MASK, isSecret, masked, maskedVariables, variables } from '../../src/ui/pure/variables.js';
import { forAll } from './random.mjs';

/** As the daemon writes variables into a row. @param {[string, string][]} all */
const written = (all) =>
  all.map(([name, value]) => `${name}=${value}`.replace(/[\\,]/g, '\\$&')).join(',');

test('variables are read as the daemon writes them, whatever their values hold', () => {
  assert.deepEqual(variables(''), []);
  assert.deepEqual(variables(null), []);
  assert.deepEqual(variables('A=1,B=x\\,y,C'), [
    ['A', '1'],
    ['B', 'x,y'],
    ['C', ''],
  ]);
  forAll((random) => {
    /** @returns {[string, string]} */
    const make = () => [random.text(1, 'ABC_1'), random.text()];
    const all = random.list(5, make);
    assert.deepEqual(variables(written(all)), all);
  });
});

test('names of secrets are known by their words', () => {
  for (const name of ['DB_PASSWORD', 'api_token', 'SECRET', 'SSH_KEY', 'AUTH', 'SENTRY_DSN']) {
    assert(isSecret(name), name);
  }
  for (const name of ['MODE', 'PORT', 'LOG_LEVEL']) assert(!isSecret(name), name);
});

test('no value of a secret is left in the data of an event, and nothing else changes', () => {
  forAll((random) => {
    const secret = `hunter2${random.text()}`;
    const list = { DB_PASSWORD: secret, MODE: 'plain' };
    const data = {
      name: 'hunter',
      env_variables: random.pick([list, written(Object.entries(list))]),
      spec: { env_variables: list, ports: [80], docker_image: 'x' },
      list: [{ env_variables: list }, null],
    };
    const before = structuredClone(data);
    const text = JSON.stringify(masked(data));
    assert(!text.includes('hunter2'), text);
    assert(text.includes(MASK) && text.includes('plain') && text.includes('"name":"hunter"'));
    assert.deepEqual(data, before, 'the event itself is left alone');
  });
});

test('masked variables keep their names and their order', () => {
  assert.equal(maskedVariables('MODE=a,TOKEN=b', ', '), `MODE=a, TOKEN=${MASK}`);
});
