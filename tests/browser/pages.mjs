// Properties that need no engines: keyboard, narrow screens, large text, hostile names, the content
// security policy, the size of the page.

import {
  accessible,
  api,
  assert,
  fill,
  open,
  run,
  shot,
  step,
  until,
  URL,
  visit,
} from './harness.mjs';

const NARROW = { width: 380, height: 760 };
const HOSTILE = '<img src=x onerror="window.hacked=1">';

run(async () => {
  // No engine listens there: the nodes are DOWN, and containers cannot be placed.
  for (const name of ['alpha', 'beta'])
    await api('POST', '/nodes/create', { name, endpoint: `tcp://127.0.0.1:${name.length}` });
  const browser = await open();
  await picture(browser);
  await api('POST', '/applications/create', {
    name: HOSTILE,
    docker_image: 'x',
    env_variables: { API_TOKEN: 'abc', PLAIN: 'readable' },
  });
  await api('POST', '/applications/scale/' + encodeURIComponent(HOSTILE), { replicas: 3 });
  const page = await browser.page();
  await small(page);
  await early(page);
  await interrupted(page);
  await hostile(page);
  await refusals(page);
  await pulling(page);
  await keyboard(page);
  await addresses(page);
  await narrow(browser);
  await large(browser);
  await themes(browser);
  await missing(page);
  await browser.close();
});

/** A picture of a narrow screen, while all names are pleasant ones. */
async function picture(browser) {
  await api('POST', '/applications/create', { name: 'web', docker_image: 'web' });
  await api('POST', '/applications/scale/web', { replicas: 3 });
  const page = await browser.page({ viewport: NARROW });
  await visit(page, '#/');
  await shot(page, 'narrow');
  await page.context().close();
  await api('POST', '/applications/scale/web', { replicas: 0 });
  await until('its containers are gone', async () => !(await api('GET', '/containers')).length);
  await api('DELETE', '/applications/delete/web');
}

async function small(page) {
  step('the page is small, and kept as long as it does not change');
  const sizes = new Map();
  const begun = Date.now();
  page.on('response', async (answer) => {
    const path = answer.url().replace(URL, '');
    if (path === '/' || path.startsWith('/ui/'))
      sizes.set(path, (await answer.request().sizes()).responseBodySize);
  });
  await page.goto(URL);
  await page.locator('.card').first().waitFor();
  const took = Date.now() - begun;
  const bytes = [...sizes.values()].reduce((sum, one) => sum + one, 0);
  console.log(
    `${sizes.size} files, ${bytes} bytes as sent; the first view was there after ${took} ms`,
  );
  assert(sizes.size > 30, 'all files were counted');
  assert(bytes < 200_000, `${bytes} bytes`);
  const sent = await fetch(URL);
  assert.equal(
    sent.headers.get('content-security-policy'),
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'; form-action 'self'",
  );
  assert.equal(sent.headers.get('x-content-type-options'), 'nosniff');
  const again = await fetch(URL, { headers: { 'if-none-match': sent.headers.get('etag') } });
  assert.equal(again.status, 304);
  const [, file] = (await sent.text()).match(/src="(\/ui\/[0-9a-f]{16}\/main\.js)"/);
  assert.match((await fetch(URL + file)).headers.get('cache-control'), /immutable/);
  assert.match(
    (await fetch(URL + file.replace(/[0-9a-f]{16}/, '0'.repeat(16)))).headers.get('cache-control'),
    /no-cache/,
  );
  assert.equal((await fetch(`${URL}${file.replace('main.js', '../../Cargo.toml')}`)).status, 404);
}

async function early(page) {
  step('the nodes are shown before the list of containers is here');
  let release;
  const held = new Promise((done) => (release = done));
  await page.route('**/0.0/containers', async (route) => {
    await held;
    await route.continue();
  });
  await page.goto('about:blank'); // for the page to be loaded afresh
  await page.goto(`${URL}/#/`);
  await page.locator('.card', { hasText: 'alpha' }).waitFor();
  const summary = page.locator('.sub', { hasText: '2 nodes' });
  await summary.getByText('loading containers').waitFor();
  await page.goto(`${URL}/#/containers`);
  await page.getByText('Loading the cluster').waitFor(); // what is about them alone waits for them
  await page.goto(`${URL}/#/`);
  release();
  await summary.getByRole('link', { name: '3 containers' }).waitFor();
  await page.unroute('**/0.0/containers');
}

async function interrupted(page) {
  step('the feed is loaded again after a network failure');
  let failures = 0;
  await page.route('**/feed.js', (route) =>
    failures++ < 2 ? route.abort('connectionreset') : route.continue(),
  );
  await page.goto('about:blank');
  await page.goto(`${URL}/#/`);
  await page.locator('.card', { hasText: 'alpha' }).waitFor();
  await page.locator('.link.is-live').waitFor();
  assert.equal(failures, 3, 'it failed twice');
  await page.unroute('**/feed.js');
  step('the page is reloaded when a module could not be loaded');
  failures = 0;
  await page.route('**/parts/bits.js', (route) =>
    failures++ < 1 ? route.abort('connectionreset') : route.continue(),
  );
  await page.goto('about:blank');
  await page.goto(`${URL}/#/`);
  await page.locator('.card', { hasText: 'alpha' }).waitFor();
  assert(failures > 1, 'it failed, and was asked for again');
  await page.unroute('**/parts/bits.js');
}

async function hostile(page) {
  step('names are text and never markup; secrets are masked');
  for (const view of [
    '#/',
    '#/applications',
    '#/containers',
    '#/events',
    `#/applications/${encodeURIComponent(HOSTILE)}`,
    `#/applications/${encodeURIComponent(HOSTILE)}?view=history`,
  ]) {
    await visit(page, view);
    await page.locator('main').getByText('<img src=x').locator('visible=true').first().waitFor();
  }
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  await visit(page, `#/applications/${encodeURIComponent(HOSTILE)}`);
  await page.getByText('readable').waitFor();
  const created = (await api('GET', '/events?kind=ApplicationCreated')).events.find(
    ({ data }) => data.name === HOSTILE,
  );
  await visit(page, `#/events/${created.seq}`);
  const data = await page.getByLabel("The event's data").textContent();
  assert(data.includes('••••') && data.includes('readable') && !data.includes('abc'), data);
}

async function refusals(page) {
  step('a refusal says why, for each node');
  const [waiting] = await api('GET', '/containers');
  assert.match(waiting.reason, /no node fits/i);
  await visit(page, `#/containers/${encodeURIComponent(waiting.name)}`);
  await page
    .locator('.reason')
    .getByText('is DOWN')
    .or(page.locator('.reason').getByText('UNKNOWN'))
    .first()
    .waitFor();
  await visit(page, '#/nodes/new');
  await fill(page, 'Endpoint', 'tcp://127.0.0.1:9');
  await fill(page, 'Name', 'alpha');
  await page
    .locator('#NodeInput-name-help .error')
    .waitFor({ timeout: 2000 })
    .catch(() => {});
  await page.getByRole('button', { name: 'Mount', exact: true }).click();
  await page
    .getByText(/alpha.*(already|exists|taken|in use)/i)
    .first()
    .waitFor();
  step('a refusal is shown before the command is sent');
  await visit(page, `#/applications/${encodeURIComponent(HOSTILE)}`);
  await page.getByRole('button', { name: 'Delete' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByRole('alert').waitFor();
  assert(await dialog.getByRole('button', { name: 'Delete' }).isDisabled());
  await page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'detached' });
}

async function pulling(page) {
  step('a pull shows how much of the image has come');
  const [waiting] = await api('GET', '/containers?status=LAUNCHING');
  await page.route('**/progress', (route) =>
    route.fulfill({
      json: { step: 'pulling', image: 'web:1', bytes: 44040192, of: 104857600, percent: 42 },
    }),
  );
  await visit(page, `#/containers/${encodeURIComponent(waiting.name)}`);
  await page.getByText('pulling web:1: 42 %, 42.0 MiB of 100 MiB').waitFor();
  assert.equal(
    await page.getByRole('progressbar', { name: 'Pulling web:1' }).getAttribute('value'),
    '42',
  );
  await accessible(page, 'a container whose image is pulled');
  await visit(page, '#/containers');
  await page.locator('td .pulled', { hasText: '42 %' }).first().waitFor();
  await page.unroute('**/progress');
}

async function keyboard(page) {
  step('everything can be reached and done by keyboard alone');
  await page.goto('about:blank'); // for the focus to be nowhere
  await visit(page, '#/');
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to content');
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
  await page.keyboard.press('1');
  await page.getByRole('heading', { level: 1, name: 'Nodes' }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.id), 'title', 'the focus follows');
  await page.keyboard.press('/');
  await page.keyboard.type('bet');
  await until(
    'the table is filtered',
    async () => (await page.locator('tbody th').allTextContents()).join() === 'beta',
  );
  await page.keyboard.press('Tab');
  await page.keyboard.press('Tab');
  for (
    let i = 0;
    i < 12 && (await page.evaluate(() => document.activeElement.textContent)) !== 'beta';
    i++
  )
    await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { level: 1, name: 'beta' }).waitFor();
  await page.getByRole('button', { name: 'Cordon' }).focus();
  await page.keyboard.press('Enter');
  const dialog = page.getByRole('dialog');
  await dialog.getByText('beta was cordoned').waitFor();
  const confirm = dialog.getByRole('button', { name: 'Cordon' });
  for (
    let i = 0;
    i < 6 && !(await confirm.evaluate((button) => button === document.activeElement));
    i++
  )
    await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'Resume scheduling' }).waitFor();
  assert.equal((await api('GET', '/nodes/beta')).availability, 'cordoned');
  await page.locator('main').focus();
  await page.keyboard.press('?');
  await page.getByRole('dialog', { name: 'Keyboard shortcuts' }).waitFor();
  await accessible(page, 'the keys');
  await page.getByLabel('Enable keyboard shortcuts').uncheck();
  await page.keyboard.press('Escape');
  await page.locator('main').focus();
  await page.keyboard.press('2');
  assert(page.url().includes('#/nodes/beta'), 'single keys are off');
  await page.getByRole('button', { name: 'Shortcuts' }).click();
  await page.getByLabel('Enable keyboard shortcuts').check();
  await page.keyboard.press('Escape');
  step('arrow keys move between tiles, and on the heat map');
  await visit(page, '#/?zoom=names');
  await page.locator('.card-head').first().focus();
  await page.keyboard.press('ArrowRight');
  assert.match(await page.evaluate(() => document.activeElement.textContent), /beta/);
  await visit(page, '#/?zoom=heat');
  await page.getByRole('listbox').focus();
  await page.keyboard.press('ArrowRight');
  assert.match(await page.locator('#heat-current').getAttribute('aria-label'), /^beta, /);
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { level: 1, name: 'beta' }).waitFor();
}

async function addresses(page) {
  step('search, order and filters are part of the address');
  await visit(page, '#/containers');
  await page.getByLabel('Search containers', { exact: true }).last().fill('-2');
  await page.getByRole('button', { name: 'Name' }).click();
  await until(
    'the address says so',
    () => page.url().includes('q=-2') && page.url().includes('sort=-name'),
  );
  await page.reload();
  await page.locator('tbody th').first().waitFor();
  assert.equal(await page.locator('tbody th').count(), 1);
  assert.equal(await page.locator('thead th[aria-sort=descending]').count(), 1);
}

const VIEWS = [
  '#/',
  '#/?zoom=tiles',
  '#/?zoom=heat',
  '#/nodes',
  '#/nodes/alpha',
  '#/nodes/new',
  '#/applications',
  '#/applications/new',
  '#/containers',
  '#/events',
  '#/events/3',
  '#/diff?from=1',
  '#/whatif',
];

async function narrow(browser) {
  step('nothing is cut off at 380 pixels');
  const page = await browser.page({ viewport: NARROW });
  for (const view of VIEWS) {
    await visit(page, view);
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 380, view);
    await accessible(page, `${view} at 380 pixels`);
  }
  await page.context().close();
}

async function large(browser) {
  step('nor at 200 % zoom');
  const page = await browser.page({ viewport: { width: 640, height: 400 }, deviceScaleFactor: 2 });
  for (const view of VIEWS) {
    await visit(page, view);
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 640, view);
  }
  await page.context().close();
  step('no view shifts while it is shown');
  const still = await browser.page();
  // (The log does: its newest line comes at the top.)
  for (const view of ['#/', '#/nodes', '#/containers']) {
    await visit(still, view);
    await still.evaluate(() => {
      window.shifted = 0;
      new PerformanceObserver((list) =>
        list.getEntries().forEach((entry) => {
          if (!entry.hadRecentInput) window.shifted += entry.value;
        }),
      ).observe({ type: 'layout-shift' });
    });
    await api('POST', '/nodes/uncordon/beta');
    await api('POST', '/nodes/cordon/beta');
    await until(
      'the change was received',
      async () => (await still.locator('.link .seq').textContent()) !== '',
    );
    await still.evaluate(() => new Promise((done) => setTimeout(done, 700)));
    const shifted = await still.evaluate(() => window.shifted);
    assert(shifted < 0.05, `${view} shifted by ${shifted}`);
  }
  await still.context().close();
}

async function themes(browser) {
  step('light and dark: as the system prefers, or as chosen');
  const page = await browser.page({ colorScheme: 'light' });
  const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
  await visit(page, '#/');
  assert.equal(await theme(), 'light');
  await page.emulateMedia({ colorScheme: 'dark' });
  await until('it follows', async () => (await theme()) === 'dark');
  await page.getByRole('button', { name: /^Theme/ }).click();
  assert.equal(await theme(), 'light');
  await page.reload();
  await page.locator('#title').waitFor();
  assert.equal(await theme(), 'light', 'the choice is kept');
  await page.context().close();
}

async function missing(page) {
  step('an invalid moment is refused, and the page says so');
  await visit(page, '#/');
  await page.getByLabel('Go to a time or an event').fill('#999999');
  await page.getByLabel('Go to a time or an event').press('Enter');
  await page.locator('.timeline .note').waitFor();
  await page.getByLabel('Go to a time or an event').fill('soon');
  await page.getByLabel('Go to a time or an event').press('Enter');
  await page.getByText('Write 03:02').waitFor();
}
