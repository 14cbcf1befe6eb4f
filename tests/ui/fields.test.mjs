// Fields of a form, from the description of the API.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readFileSync } from 'node:fs';
import { bodyOf, fieldsOf, follow, labelOf, typed } from '../../src/ui/pure/fields.js';
import { forAll } from './random.mjs';

/** @type {import('../../src/ui/types.d.ts').Description} */
const DESCRIPTION = {
  paths: {},
  components: {
    schemas: {
      Words: {
        anyOf: [{ type: 'string' }, { type: 'array' }],
        description: 'of the type',
        'x-kdaemon-input': 'shell-words',
      },
      List: { anyOf: [{ type: 'string' }, { type: 'array' }], 'x-kdaemon-input': 'text' },
      Variables: { anyOf: [{ type: 'string' }, { type: 'array' }, { type: 'object' }] },
      Flag: { anyOf: [{ type: 'boolean' }, { type: 'string' }], 'x-kdaemon-input': 'boolean' },
      Limits: { properties: { cpus: { type: ['number', 'null'] }, memory: { type: 'string' } } },
      Input: {
        properties: {
          name: { type: ['string', 'null'], description: 'The name.' },
          command: {
            oneOf: [
              { $ref: '#/components/schemas/Words', description: 'of the field' },
              { type: 'null' },
            ],
          },
          ports: { oneOf: [{ $ref: '#/components/schemas/List' }, { type: 'null' }] },
          env_variables: { oneOf: [{ $ref: '#/components/schemas/Variables' }, { type: 'null' }] },
          labels: { type: ['object', 'null'], additionalProperties: { type: 'string' } },
          is_enabled: { oneOf: [{ $ref: '#/components/schemas/Flag' }, { type: 'null' }] },
          resources: { oneOf: [{ $ref: '#/components/schemas/Limits' }, { type: 'null' }] },
          tls: { type: ['object', 'null'] },
        },
      },
    },
  },
};
const FIELDS = fieldsOf(DESCRIPTION, 'Input');
const ROW = {
  name: 'web',
  command: ['sh', '-c', 'echo hi'],
  ports: ['80', '53/udp'],
  env_variables: 'A=1,B=x\\,y',
  labels: { disk: 'ssd', gpu: '' },
  is_enabled: true,
  resources: { cpus: 0.5, memory: null },
};

/** @param {Record<string, any>} row */
const shown = (row) => Object.fromEntries(FIELDS.map((field) => [field.path, typed(field, row)]));

test('the schema says how each field is edited, and an unknown object has no field', () => {
  const controls = Object.fromEntries(FIELDS.map(({ path, control }) => [path, control]));
  assert.deepEqual(controls, {
    name: 'text',
    command: 'words',
    ports: 'text',
    env_variables: 'map',
    labels: 'map',
    is_enabled: 'flag',
    'resources.cpus': 'text',
    'resources.memory': 'text',
  });
});

test('the help of a field comes before that of its type', () => {
  assert.equal(FIELDS.find(({ path }) => path === 'command')?.help, 'of the field');
});

test('labels are words', () => {
  assert.equal(labelOf('env_variables'), 'Environment variables');
  assert.equal(labelOf('application_id'), 'Application ID');
  assert.equal(FIELDS.find(({ path }) => path === 'resources.cpus')?.label, 'Resources: CPUs');
});

test('a row is shown as people write it', () => {
  assert.deepEqual(shown(ROW), {
    name: 'web',
    command: '["sh","-c","echo hi"]',
    ports: '80, 53/udp',
    env_variables: 'A=1\nB=x,y',
    labels: 'disk=ssd\ngpu=',
    is_enabled: 'true',
    'resources.cpus': '0.5',
    'resources.memory': '',
  });
});

test('a form that was not touched asks for no change', () => {
  assert.deepEqual(bodyOf(FIELDS, shown(ROW), ROW), {});
  assert.deepEqual(bodyOf(FIELDS, {}, {}), {});
});

test('only fields that differ from the row are sent', () => {
  forAll((random) => {
    const name = random.text(1, 'abc');
    const body = bodyOf(FIELDS, { ...shown(ROW), name }, ROW);
    assert.deepEqual(body, name === ROW.name ? {} : { name });
  });
});

test('maps are sent with the values that their lines have, whatever these hold', () => {
  forAll((random) => {
    const entries = random.list(4, () => [random.text(1, 'ABC'), random.text(0, 'ab=,\\#')]);
    const text = entries.map(([name, value]) => `${name}=${value}`).join('\n');
    const expected = entries.length ? Object.fromEntries(entries) : undefined;
    assert.deepEqual(bodyOf(FIELDS, { env_variables: text }, {}).env_variables, expected);
  });
});

test('a command with spaces in its words survives an edit of another field', () => {
  const values = { ...shown(ROW), command: '["sh", "-c", "echo  bye"]' };
  assert.deepEqual(bodyOf(FIELDS, values, ROW), { command: ['sh', '-c', 'echo  bye'] });
  assert.deepEqual(bodyOf(FIELDS, { command: '[ -f x ]' }, {}), { command: '[ -f x ]' });
});

test('an emptied field is reset', () => {
  assert.deepEqual(bodyOf(FIELDS, { ...shown(ROW), ports: ' ' }, ROW), { ports: null });
  assert.deepEqual(bodyOf(FIELDS, { ...shown(ROW), is_enabled: '' }, ROW), { is_enabled: null });
});

test('an object goes whole when a part of it changes, and is reset with its last part', () => {
  const values = { ...shown(ROW), 'resources.memory': '64MiB' };
  const resources = { cpus: '0.5', memory: '64MiB' };
  assert.deepEqual(bodyOf(FIELDS, values, ROW), { resources });
  assert.deepEqual(bodyOf(FIELDS, { ...shown(ROW), 'resources.cpus': '' }, ROW), {
    resources: null,
  });
});

test('references are followed, and a missing one is harmless', () => {
  const missing = follow(DESCRIPTION, { $ref: '#/components/schemas/None', description: 'x' });
  assert.equal(missing?.description, 'x');
  assert.deepEqual(fieldsOf(DESCRIPTION, 'None'), []);
  assert.deepEqual(fieldsOf(null, 'Input'), []);
});

test('the description of the daemon gives its forms their fields', () => {
  const path = new URL('../../openapi/kdaemon.json', import.meta.url);
  const description = JSON.parse(readFileSync(path, 'utf8'));
  /** @param {string} schema */
  const controls = (schema) =>
    Object.fromEntries(fieldsOf(description, schema).map((field) => [field.path, field.control]));
  const application = controls('ApplicationInput');
  assert.equal(application.docker_image, 'text');
  assert.equal(application.command, 'words');
  assert.equal(application.constraints, 'text');
  assert.equal(application.env_variables, 'map');
  assert.equal(application.is_enabled, 'flag');
  assert.equal(application['resources.cpus'], 'text');
  assert.equal(application['health_check.command'], 'check');
  assert.equal(application['health_check.disable'], 'flag');
  assert.equal(controls('NodeInput').labels, 'map');
  assert.equal(controls('ContainerInput').balance, 'flag');
});
