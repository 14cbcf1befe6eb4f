// The structure of the web UI: layers, sizes, and no import cycles.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../src/ui/', import.meta.url));
const COLUMNS = 100;
const LINES = 300;

const FILES = readdirSync(ROOT, { recursive: true, encoding: 'utf8' }).filter(
  (path) => !path.startsWith('vendor/'),
);
const MODULES = FILES.filter((path) => path.endsWith('.js'));

/** @param {string} path */
const textOf = (path) => readFileSync(join(ROOT, path), 'utf8');

/** The modules that a module imports when it is loaded. @param {string} path */
const importsOf = (path) =>
  [...textOf(path).matchAll(/^(?:import|export) [^;]*?'(\.[^']+)';/gm)]
    .map(([, to]) => normalize(join(dirname(path), to)))
    .filter((to) => !to.startsWith('vendor/'));

test('every import names a module', () => {
  assert(MODULES.length > 40, 'the modules were found');
  for (const path of MODULES) {
    for (const to of importsOf(path)) assert(MODULES.includes(to), `${path} imports ${to}`);
  }
});

test('no modules import each other in a circle', () => {
  /** @type {Set<string>} */
  const done = new Set();
  /** @param {string} path @param {string[]} chain */
  const visit = (path, chain) => {
    assert(!chain.includes(path), `a cycle: ${[...chain, path].join(' -> ')}`);
    if (done.has(path)) return;
    for (const to of importsOf(path)) visit(to, [...chain, path]);
    done.add(path);
  };
  for (const path of MODULES) visit(path, []);
});

test('no layer imports one above it: pure, then the data, then parts, then views', () => {
  /** @param {string} path */
  const layerOf = (path) => {
    const [folder, rest] = path.split('/');
    if (path === 'main.js') return 4;
    if (!rest) return 1;
    return { pure: 0, parts: 2, views: 3 }[folder] ?? assert.fail(`${folder} is in no layer`);
  };
  for (const path of MODULES) {
    for (const to of importsOf(path)) {
      assert(layerOf(to) <= layerOf(path), `${path} imports ${to}`);
      assert(layerOf(path) !== 3 || layerOf(to) !== 3, `the view ${path} imports the view ${to}`);
    }
  }
});

test('each pure module has a test', () => {
  const here = fileURLToPath(new URL('.', import.meta.url));
  for (const path of MODULES.filter((path) => path.startsWith('pure/'))) {
    const name = path.replace('pure/', '').replace('.js', '.test.mjs');
    assert(existsSync(join(here, name)), `tests/ui/${name} is missing`);
  }
});

test('a module starts with what it is, is type-checked, and holds one concept', () => {
  for (const path of MODULES) {
    const lines = textOf(path).split('\n');
    assert(lines[0].startsWith('// '), `${path} does not start with a comment on what it is`);
    assert(lines.includes('// @ts-check'), `${path} is not type-checked`);
    assert(lines.length <= LINES, `${path} has ${lines.length} lines: split it`);
  }
});

test('lines have at most 100 columns', () => {
  for (const path of FILES.filter((path) => /\.(js|css|html|ts|json)$/.test(path))) {
    textOf(path)
      .split('\n')
      .forEach((line, index) => {
        assert([...line].length <= COLUMNS, `src/ui/${path}:${index + 1} is too long`);
      });
  }
});
