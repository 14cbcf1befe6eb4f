// What the browser tests share: the browser, waiting for conditions, axe, screenshots, and requests
// to the Rust side for what a page cannot do (lines that begin with `@`).

import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { mkdirSync, readFileSync } from 'node:fs';
import assert from 'node:assert/strict';

const need = (name) => process.env[name] ?? assert.fail(`${name} is not set`);
const require = createRequire(`${need('BROWSER_MODULES')}/package.json`);
const { chromium } = require('playwright-core');
const AXE = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

/** Where the daemon answers. */
export const URL = need('KDAEMON_URL');
export const API = `${URL}/0.0`;
export const DEADLINE_MS = 60_000;
export { assert };

/** Says what is being done. */
export const step = (text) => console.log(`- ${text}`);

/** Waits until `look` gives something that is true. */
export async function until(what, look, deadline = DEADLINE_MS) {
  const end = Date.now() + deadline;
  for (;;) {
    const found = await look();
    if (found) return found;
    assert(Date.now() < end, `timed out waiting until ${what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
/** Asks the Rust side to do something; its answer. */
export async function ask(request) {
  console.log(`@${request}`);
  return (await answers.next()).value;
}

export async function api(method, path, body) {
  const answer = await fetch(API + path, {
    method,
    body: body && JSON.stringify(body),
    headers: { 'content-type': 'application/json' },
  });
  assert(
    answer.ok,
    `${method} ${path}: ${answer.status} ${answer.ok ? '' : await answer.clone().text()}`,
  );
  return answer.json();
}

/** The pages that are open, and what they said and could not load. */
const pages = new Set();
const notes = [];

/** A browser and its pages, which note what goes wrong in them. */
export async function open(options = {}) {
  const browser = await chromium.launch({
    executablePath: need('CHROMIUM'),
    args: ['--no-sandbox', '--disable-dev-shm-usage'],
  });
  const faults = [];
  const page = async (more = {}) => {
    const context = await browser.newContext({
      viewport: { width: 1280, height: 800 },
      colorScheme: 'dark',
      ...options,
      ...more,
    });
    context.setDefaultTimeout(DEADLINE_MS);
    const page = await context.newPage();
    pages.add(page);
    page.on('close', () => pages.delete(page));
    page.on('requestfailed', (request) =>
      notes.push(`${request.url()}: ${request.failure()?.errorText}`),
    );
    page.on('pageerror', (error) => faults.push(`${page.url()}: ${error.stack}`));
    page.on('console', (message) => {
      notes.push(`${page.url()}: ${message.type()}: ${message.text()}`);
      // The page itself reports answers other than 200, in words.
      if (
        message.type() === 'error' &&
        !message.text().startsWith('Failed to load resource') &&
        !/ERR_|WebSocket connection/.test(message.text())
      )
        faults.push(`${page.url()}: ${message.text()}`);
    });
    return page;
  };
  const close = async () => {
    await browser.close();
    assert.deepEqual(faults, [], 'nothing went wrong in the pages');
  };
  return { page, close };
}

/** Goes to a view and waits until nothing in it is on its way any more. */
export async function visit(page, view) {
  await page.goto(`${URL}/${view}`);
  await page.locator('#title').waitFor();
  await until(`${view} is there`, async () => !(await page.locator('main .busy').count()));
}

/** Nothing for axe to find, in light and in dark. */
export async function accessible(page, name) {
  for (const theme of ['light', 'dark']) {
    await page.evaluate((theme) => {
      document.documentElement.dataset.theme = theme;
    }, theme);
    await page.evaluate(AXE);
    const found = await page.evaluate(async () => {
      const { violations } = await axe.run(document, { resultTypes: ['violations'] });
      return violations.map(
        ({ id, help, nodes }) =>
          `${id} (${help}): ${nodes
            .slice(0, 3)
            .map((node) => `${node.html} ${node.any.map((one) => one.message).join('; ')}`)
            .join('\n  ')}`,
      );
    });
    assert.deepEqual(found, [], `axe finds nothing on ${name} in ${theme}`);
  }
}

/** Keeps a screenshot, when they are wanted: KDAEMON_TEST_SCREENSHOTS names the folder. */
export async function shot(page, name) {
  const folder = process.env.KDAEMON_TEST_SCREENSHOTS;
  if (!folder) return;
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: `${folder}/${name}.png` });
}

/** Fills a field of a form by its label. */
export const fill = (page, label, text) => page.getByLabel(label, { exact: true }).fill(text);

/** Runs the test, and ends with what came of it. */
export function run(test) {
  test().then(
    () => process.exit(0),
    async (error) => {
      console.error(error);
      for (const page of pages) {
        const text = await page
          .evaluate('document.body.innerText')
          .catch((gone) => `it cannot be read: ${gone.message}`);
        console.error(`${page.url()} shows: ${text.slice(0, 2000)}`);
      }
      console.error(`what the pages said last:\n${notes.slice(-50).join('\n')}`);
      process.exit(1);
    },
  );
}
