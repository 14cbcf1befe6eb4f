// An operator runs a cluster of real engines, from the first mount to a failed machine and back in
// time.

import {
  accessible,
  api,
  ask,
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

const ENGINES = process.env.ENGINES.split(',');
const IMAGE = process.env.IMAGE;

run(async () => {
  const browser = await open();
  const page = await browser.page();
  await mount(page);
  await library(page);
  await launch(page);
  await logs(page);
  const before = await failure(page);
  await restart(page);
  await views(page);
  await past(page, before);
  await browser.close();
});

async function mount(page) {
  step('an empty cluster asks for its first node, and checks the address as it is typed');
  await page.goto(URL);
  await page.getByRole('heading', { name: 'An empty cluster' }).waitFor();
  await page.getByLabel('Endpoint', { exact: true }).waitFor();
  await shot(page, 'first-steps');
  await accessible(page, 'the first steps');
  await fill(page, 'Endpoint', '10.0.0.1');
  await page.getByText('it has no scheme that kDaemon knows').waitFor();
  assert.equal(
    await page.getByLabel('Endpoint', { exact: true }).getAttribute('aria-invalid'),
    'true',
  );
  assert.equal((await api('GET', '/nodes')).length, 0);
  await fill(page, 'Endpoint', ENGINES[0]);
  await fill(page, 'Name', 'node-1');
  await page.getByText(`Node node-1 was mounted by`).waitFor();
  assert.equal((await api('GET', '/nodes')).length, 0, 'that was a dry run');
  await page.getByRole('button', { name: 'Mount', exact: true }).click();
  await page.getByRole('article', { name: 'Node node-1' }).waitFor();
  for (const [index, endpoint] of ENGINES.entries()) {
    if (!index) continue;
    await visit(page, '#/nodes/new');
    await fill(page, 'Endpoint', endpoint);
    await fill(page, 'Name', `node-${index + 1}`);
    await page.getByRole('button', { name: 'Mount', exact: true }).click();
    await page.getByRole('heading', { level: 1, name: `node-${index + 1}` }).waitFor();
  }
  await visit(page, '#/');
  await until(
    'all nodes are UP',
    async () => (await page.locator('.card.node-up').count()) === ENGINES.length,
  );
}

async function library(page) {
  step('applications are added; a refusal is shown at its field');
  await visit(page, '#/applications/new');
  await fill(page, 'Name', 'web');
  await fill(page, 'Docker image', IMAGE);
  await fill(page, 'Exposed ports', '80,http');
  await page.locator('#ApplicationInput-exposed_ports-help .error').waitFor();
  await fill(page, 'Exposed ports', '80');
  await fill(page, 'Environment variables', 'MODE=production\nDB_PASSWORD=hunter2');
  await page.getByText('Application web was created by').waitFor();
  await accessible(page, 'the form of an application');
  await page.getByRole('button', { name: 'Add', exact: true }).click();
  await page.getByRole('heading', { level: 1, name: 'web' }).waitFor();
  assert(!(await page.content()).includes('hunter2'), 'a secret is masked');
  await page.getByRole('button', { name: 'Show DB_PASSWORD' }).click();
  await page.getByText('hunter2').waitFor();
  await page.getByRole('button', { name: 'Hide DB_PASSWORD' }).click();
  await api('POST', '/applications/create', {
    name: 'ticker',
    docker_image: IMAGE,
    command: ['sh', '-c', 'n=0; while true; do n=$((n+1)); echo "tick $n"; sleep 0.2; done'],
  });
}

async function launch(page) {
  step('scaling shows what will happen before it does');
  await visit(page, '#/applications/web');
  await fill(page, 'Replicas', '6');
  await page.getByRole('button', { name: 'Scale …' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('Application web was scaled to 6 replicas').waitFor();
  await dialog.getByText(/web-6 was placed: .*node-\d/).waitFor();
  assert.equal((await api('GET', '/containers')).length, 0, 'nothing was done yet');
  await accessible(page, 'a confirmation');
  await dialog.getByRole('button', { name: 'Scale' }).click();
  await page.getByText('6 of 6 UP').waitFor();

  step('a container is created and launched by hand');
  await visit(page, '#/containers/new?application=ticker');
  await fill(page, 'Name', 'ticker-a');
  await page.getByRole('button', { name: 'Create', exact: true }).click();
  await page.getByRole('button', { name: 'Launch' }).click();
  await page.getByRole('dialog').getByText('Launch of ticker-a was requested').waitFor();
  await page.getByRole('dialog').getByRole('button', { name: 'Launch' }).click();
  await page.locator('.title .status.is-up').waitFor();
}

async function logs(page) {
  step("a container's output is followed and searched");
  await visit(page, '#/containers/ticker-a?view=logs');
  const output = page.getByRole('log', { name: 'Output of ticker-a' });
  await output
    .getByText(/^tick 3$/m)
    .first()
    .waitFor();
  const count = () => output.locator('.line').count();
  const seen = await count();
  await until('more lines come', async () => (await count()) > seen + 3);
  await until('the newest line is in sight', () =>
    output.evaluate((box) => box.scrollHeight - box.scrollTop - box.clientHeight < 40),
  );
  await page.getByLabel('Search the output').fill('tick 2');
  await until('only what matches is there', async () =>
    (await output.locator('.line').allTextContents()).every((line) => line.includes('tick 2')),
  );
  assert((await output.locator('mark').count()) >= 1);
  await page.getByLabel('Search the output').fill('');
  await page.getByLabel('Wrap').uncheck();
  const [download] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('link', { name: 'Download' }).click(),
  ]);
  assert.equal(download.suggestedFilename(), 'ticker-a.log');
  await shot(page, 'logs');
  await visit(page, '#/containers/web-1');
  await page.locator('.spark').first().waitFor();
  await until('there are charts', async () => (await page.locator('.spark polyline').count()) >= 2);
  await shot(page, 'container');
}

/** The event after which a machine failed. */
async function failure(page) {
  step('a machine fails: its containers are seen moving, without a reload');
  await visit(page, '#/');
  const tiles = (node) => page.getByRole('article', { name: `Node ${node}` }).locator('.tile');
  await until('the nodes have containers', async () => (await tiles('node-2').count()) >= 2);
  await shot(page, 'cluster');
  const { head } = await api('GET', '/events?limit=1');
  await page.evaluate(() => {
    window.notReloaded = true;
    window.flights = 0;
    new MutationObserver((changes) =>
      changes.forEach((change) =>
        change.addedNodes.forEach((node) => {
          if (node.className === 'flight') window.flights++;
        }),
      ),
    ).observe(document.body, { childList: true });
  });
  await ask('kill-engine 2');
  await page.locator('.card.node-down', { hasText: 'node-2' }).waitFor();
  await until('its containers are elsewhere', async () => (await tiles('node-2').count()) === 0);
  await until('all are UP', async () => (await page.locator('.tile.is-up').count()) === 7);
  assert.equal(await page.evaluate(() => window.notReloaded), true);
  assert((await page.evaluate(() => window.flights)) >= 2, 'migrations were seen');
  await shot(page, 'failure');
  return head;
}

async function restart(page) {
  step('the daemon restarts: the page says so, and reconnects by itself');
  await ask('kill-daemon');
  await page.getByText('Not connected. Showing the state as of').waitFor();
  assert.equal(await page.locator('.tile').count(), 7, 'what was known stays');
  await ask('start-daemon');
  await page.locator('.link.is-live').waitFor();
  await api('POST', '/containers/stop/ticker-a?wait=30s');
  await page
    .locator('.tile.is-down', { hasText: 'ticker-a' })
    .or(page.locator('.unplaced', { hasText: 'ticker-a' }))
    .first()
    .waitFor();
  await page.locator('.latest').getByText('ticker-a was stopped').waitFor();
  assert.equal(await page.evaluate(() => window.notReloaded), true);
}

async function views(page) {
  step('axe finds nothing on any view, in light and in dark');
  const [event] = (await api('GET', '/events?kind=ContainerMigrationCommanded')).events;
  const all = {
    cluster: '#/',
    tiles: '#/?zoom=tiles',
    'heat map': '#/?zoom=heat',
    nodes: '#/nodes',
    'a node': '#/nodes/node-2',
    'editing a node': '#/nodes/node-1?edit=1',
    'mounting a node': '#/nodes/new',
    'why of a node': '#/nodes/node-2?view=why',
    'history of a node': '#/nodes/node-2?view=history',
    applications: '#/applications',
    'an application': '#/applications/web',
    containers: '#/containers',
    'a container': '#/containers/web-1',
    logs: '#/containers/web-1?view=logs',
    why: '#/containers/web-1?view=why',
    history: '#/containers/web-1?view=history',
    events: '#/events',
    'an event': `#/events/${event.seq}`,
    compare: `#/diff?from=5&to=${event.seq}`,
    'what-if': '#/whatif',
    'nothing there': '#/nope',
  };
  for (const [name, view] of Object.entries(all)) {
    await visit(page, view);
    await accessible(page, name);
  }
  await visit(page, '#/events');
  await shot(page, 'events');
  await visit(page, `#/events/${event.seq}`);
  await page.getByText('moves from node-2 to').first().waitFor();
  await page.getByText('node-2 was judged unhealthy').first().waitFor(); // its cause
  await page
    .getByText('has moved to')
    .first()
    .or(page.getByText('was launched on'))
    .first()
    .waitFor(); // its effect
  const light = await page
    .context()
    .browser()
    .newPage({ viewport: { width: 1280, height: 800 }, colorScheme: 'light' });
  await visit(light, '#/containers');
  await shot(light, 'containers-light');
  await light.close();
}

async function past(page, before) {
  step('the whole page travels back to before the failure, read-only, and plays on to now');
  await visit(page, '#/');
  await page.getByLabel('Go to a time or an event').fill(`#${before}`);
  await page.getByLabel('Go to a time or an event').press('Enter');
  await page.getByText(`event ${before}, read-only`).waitFor();
  await page.locator('.card.node-up', { hasText: 'node-2' }).waitFor();
  const tiles = page.getByRole('article', { name: 'Node node-2' }).locator('.tile');
  await until('it has its containers', async () => (await tiles.count()) >= 2);
  assert(await page.getByRole('button', { name: 'Rebalance' }).isDisabled());
  await accessible(page, 'the past');
  await shot(page, 'past');
  await page.getByRole('link', { name: 'Containers', exact: true }).click();
  await page.getByRole('heading', { level: 1, name: 'Containers' }).waitFor();
  assert(page.url().includes(`seq=${before}`), 'the address keeps the moment');
  await page.getByRole('link', { name: 'Cluster', exact: true }).click();
  await page.getByLabel('Speed').selectOption('10');
  await page.locator('.card.node-down', { hasText: 'node-2' }).waitFor();
  await page.getByRole('button', { name: 'Pause' }).click();
  await page.locator('main').focus();
  await page.keyboard.press('n');
  await page.locator('.now-mark').waitFor();
  assert(!page.url().includes('seq='));
  step('the strip is a slider: keys and the pointer move it');
  const slider = page.getByRole('slider', { name: 'Moment that is shown' });
  await slider.focus();
  await page.keyboard.press('ArrowLeft');
  await page.locator('.past-mark').waitFor();
  await page.keyboard.press('End');
  await page.locator('.now-mark').waitFor();
  // Half way between the beginning of the log and now, on a strip of fifteen minutes.
  const first = Date.parse((await api('GET', '/events?limit=1')).events[0].at);
  const box = await slider.boundingBox();
  await page.mouse.click(
    box.x + box.width * (1 - (Date.now() - first) / 2 / (15 * 60e3)),
    box.y + 20,
  );
  await page.locator('.past-mark').waitFor();
  await page.keyboard.press('End');
  step('two points make a diff');
  await visit(page, `#/diff?from=${before}`);
  const node = page.locator('.diff li', { hasText: 'node-2' });
  await node.getByText('DOWN').waitFor();
  await shot(page, 'diff');
  step('why: a story whose steps are links to their events');
  const moved = (await api('GET', '/events?kind=ContainerMigrationCommanded')).events[0];
  await visit(page, `#/containers/${moved.data.container_id}?view=why`);
  await page.locator('.story p').first().waitFor();
  await page
    .locator('.chain')
    .getByRole('link', { name: `#${moved.seq}`, exact: true })
    .first()
    .waitFor();
  await shot(page, 'why');
  await page
    .locator('.chain')
    .getByRole('link', { name: `#${moved.seq}`, exact: true })
    .first()
    .click();
  await page.getByRole('heading', { level: 1, name: `Event ${moved.seq}` }).waitFor();
  step('what-if: both runs over one axis');
  await visit(page, '#/whatif');
  await page.getByLabel('Strategy', { exact: true }).selectOption('binpack');
  await page.getByRole('button', { name: 'Replay' }).click();
  await page.getByRole('heading', { name: 'Both runs' }).waitFor();
  await accessible(page, 'what-if');
  await shot(page, 'what-if');
  step('the log is verified');
  await visit(page, '#/events');
  await page.getByRole('button', { name: 'Verify the log' }).click();
  await page.getByText('The log is intact').waitFor();
}
