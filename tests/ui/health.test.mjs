// Commands of health checks, as they are shown and edited.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { commandText, listOf } from '../../src/ui/pure/health.js';
import { forAll } from './random.mjs';

test('a line for the shell is shown alone, and any other command as its list', () => {
  assert.equal(commandText(['CMD-SHELL', 'curl -f localhost | true']), 'curl -f localhost | true');
  assert.equal(commandText(['CMD-SHELL', '[ -f /up ]']), '[ -f /up ]');
  assert.equal(commandText(['CMD-SHELL', '["a"]']), '["CMD-SHELL","[\\"a\\"]"]');
  assert.equal(commandText(['CMD', '/check', 'a b']), '["CMD","/check","a b"]');
  assert.equal(commandText(['NONE']), '["NONE"]');
});

test('a command that is shown reads back as the same command', () => {
  forAll((random) => {
    const words = ['CMD', random.text(1), ...random.list(2, () => random.text())];
    const line = random.pick(['', '[', '["', ' ', '\n']) + random.text(1, 'ab "\\[],\n');
    for (const command of [words, ['CMD-SHELL', line]]) {
      const text = commandText(command);
      assert.equal(text.trim(), text);
      assert.deepEqual(listOf(text) ?? ['CMD-SHELL', text], command);
    }
  });
});
