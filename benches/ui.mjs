// The frame rate of the web UI with a simulated cluster of 1,000 nodes and 20,000 containers that sends 1,000 events per second.
// The server in this file implements the part of kDaemon's API that the UI uses, so that only the browser's work is measured. Run
// it with `scripts/bench ui`; it prints one JSON object per figure. NODES, CONTAINERS, RATE, SECONDS and VIEWS (a substring of the
// names of views) in the environment change it.
//
// The browser is driven through its own protocol rather than Playwright: Playwright receives every message of every WebSocket and
// event stream, which costs the page as much as all its own work and delays its frames.

import { spawn } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { gzipSync } from 'node:zlib';

const ROOT = new URL('..', import.meta.url).pathname;
const number = (name, otherwise) => Number(process.env[name] ?? otherwise);
const [NODES, CONTAINERS, RATE, SECONDS] = [number('NODES', 1000), number('CONTAINERS', 20_000), number('RATE', 1000), number('SECONDS', 10)];
const TICK_MS = 20;

// ---- the cluster ------------------------------------------------------------------------------------------------------------

let seq = 1;
const row = (more) => ({ id: randomUUID(), user_id: null, seq: seq++, ...more });
const nodes = Array.from({ length: NODES }, (_, i) => row({ name: `node-${i + 1}`, d_ipaddr: '10.0.0.1', d_port: 2375, endpoint: 'tcp://10.0.0.1:2375', container_count: 0, state: 'UP', reason: null, labels: { zone: 'abc'[i % 3] }, capacity: null, availability: 'active', engine: { kind: 'docker', version: '20.10.24', api_version: '1.41', cpus: 8, memory_bytes: 2 ** 35, platform: 'linux/amd64' } }));
const [web] = [row({ name: 'web', exposed_ports: '80', docker_image: 'web', dependencies: [], is_enabled: true, env_variables: '', command: [], entrypoint: [], volumes: [], networks: [], labels: {}, restart_policy: 'always', resources: {}, constraints: [], health_check: null, replicas: CONTAINERS, update_policy: 'manual', registry_auth: null, strategy: null, preferences: [], spread_over: null, anti_affinity: false, affinity: [], disruption_limit: null })];
const containers = Array.from({ length: CONTAINERS }, (_, i) => {
  const node = nodes[i % NODES];
  node.container_count++;
  return row({ node_id: node.id, application_id: web.id, name: `web-${i + 1}`, env_variables: '', container_id: createHash('sha256').update(String(i)).digest('hex'), balance: true, status: 'UP', reason: null, access_link: 'http://10.0.0.1:32768', generation: 1, desired: 'running', ports: [{ container: 80, host: 32768, protocol: 'tcp' }], restarts: 0 });
});
const nodeOf = new Map(nodes.map((node) => [node.id, node]));
const tables = { nodes, applications: [web], containers };
const sockets = new Set();
const streams = new Set();

/** One event: a container is moved, or comes UP after a move. */
function happen() {
  const container = containers[Math.floor(Math.random() * CONTAINERS)];
  seq++;
  const changed = [];
  let event;
  if (container.status === 'LAUNCHING') {
    container.status = 'UP';
    event = ['ContainerLaunched', 'launcher', { container_id: container.id, generation: container.generation, node_id: container.node_id, engine_id: container.container_id, image_id: 'x' }];
  } else {
    const [from, to] = [nodeOf.get(container.node_id), nodes[Math.floor(Math.random() * NODES)]];
    from.container_count--;
    to.container_count++;
    for (const node of new Set([from, to])) {
      node.seq = seq;
      changed.push(['nodes', node]);
    }
    Object.assign(container, { node_id: to.id, status: 'LAUNCHING', generation: container.generation + 1 });
    event = ['ContainerMigrationCommanded', 'rebalancer', { container_id: container.id, from_node_id: from.id, from_generation: 1, node_id: to.id, generation: container.generation, reason: 'balance', start_first: true, why: `${to.name} has the fewest containers` }];
  }
  container.seq = seq;
  changed.push(['containers', container]);
  const [kind, actor, data] = event;
  const text = JSON.stringify({ seq, id: randomUUID(), at: new Date().toISOString(), actor: { type: 'reactor', name: actor }, request_id: null, cause: seq - 1, kind, v: 1, data });
  for (const stream of streams) stream.write(`id: ${seq}\ndata: ${text}\n\n`);
  for (const socket of sockets) for (const [kind, row] of changed) tell(socket, `${kind} edit`, row);
}

// ---- the part of the API that the UI uses ---------------------------------------------------------------------------------------

/** The files of the UI, compressed once like in the daemon. */
const read = (path) => readFileSync(`${ROOT}src/ui/${path}`);
const files = new Map(readdirSync(`${ROOT}src/ui`, { recursive: true }).filter((name) => /\.(js|css|svg)$/.test(name)).map((name) => [name, gzipSync(read(name))]));
const modules = readdirSync(`${ROOT}src/ui`, { recursive: true }).filter((name) => name.endsWith('.js'));
const page = () => read('index.html').toString().replaceAll('{files}', '/ui/0').replaceAll('{api}', '/0.0')
  .replace('<!-- preloads -->', modules.map((name) => `<link rel="modulepreload" href="/ui/0/${name}">`).join(''));
const MEDIA = { js: 'text/javascript', css: 'text/css', svg: 'image/svg+xml', html: 'text/html' };

const server = createServer((request, response) => {
  const { pathname } = new URL(request.url, 'http://x');
  const send = (bytes, media) => response.writeHead(200, { 'content-type': media, 'content-encoding': 'gzip', 'x-kdaemon-seq': seq }).end(bytes);
  if (pathname === '/') return send(gzipSync(page()), MEDIA.html);
  if (pathname.startsWith('/ui/0/')) return send(files.get(pathname.slice(6)), MEDIA[pathname.split('.').pop()]);
  if (pathname === '/0.0/events/stream') {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).write(':\n\n');
    streams.add(response);
    return response.on('close', () => streams.delete(response));
  }
  const table = tables[pathname.slice(5)];
  response.writeHead(200, { 'content-type': 'application/json', 'x-kdaemon-seq': seq });
  response.end(JSON.stringify(table ?? (pathname === '/0.0/events' ? { events: [], next: null, head: seq } : { paths: {}, components: { schemas: {} } })));
});

function tell(socket, name, data) {
  const payload = Buffer.from(JSON.stringify({ name, data }));
  const head = payload.length < 126 ? Buffer.from([0x81, payload.length]) : Buffer.from([0x81, 126, payload.length >> 8, payload.length & 255]);
  socket.write(Buffer.concat([head, payload]));
}

server.on('upgrade', (request, socket) => {
  const accept = createHash('sha1').update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  // The UI subscribes to all changes as soon as it is connected.
  sockets.add(socket);
  for (const kind of Object.keys(tables)) tell(socket, `${kind} subscribed`, { seq });
  socket.on('close', () => sockets.delete(socket)).on('error', () => sockets.delete(socket));
});

// ---- the browser --------------------------------------------------------------------------------------------------------------

const profile = mkdtempSync(`${tmpdir()}/kdaemon-bench-ui-`);
const browser = spawn(process.env.CHROMIUM ?? '/usr/bin/chromium', ['--headless', '--remote-debugging-pipe', '--no-sandbox', '--disable-dev-shm-usage', '--no-first-run', '--disable-background-networking',
  '--disable-extensions', '--disable-component-update', '--disable-sync', '--hide-scrollbars', '--window-size=1440,900', `--user-data-dir=${profile}`], { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
const [commands, answers] = [browser.stdio[3], browser.stdio[4]];
const waiting = new Map();
let lastId = 0;
let unread = '';
answers.setEncoding('utf8').on('data', (chunk) => {
  const messages = (unread + chunk).split('\0');
  unread = messages.pop();
  for (const { id, result, error } of messages.map((text) => JSON.parse(text))) {
    const [done, failed] = waiting.get(id) ?? [];
    waiting.delete(id);
    if (error) failed?.(new Error(error.message));
    else done?.(result);
  }
});
const ask = (method, params = {}, sessionId) => new Promise((done, failed) => {
  waiting.set(++lastId, [done, failed]);
  commands.write(`${JSON.stringify({ id: lastId, method, params, sessionId })}\0`);
});
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
process.on('exit', () => browser.kill());

const { targetId } = await ask('Target.createTarget', { url: 'about:blank' });
const { sessionId } = await ask('Target.attachToTarget', { targetId, flatten: true });
const tab = (method, params) => ask(method, params, sessionId);
await tab('Emulation.setDeviceMetricsOverride', { width: 1440, height: 900, deviceScaleFactor: 1, mobile: false });
/** Evaluates an expression in the page. */
const evaluate = async (expression) => (await tab('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true })).result.value;
/** Loads a page without cached state; returns the time at which its title was in the page, by the page's clock. */
async function open(address) {
  await tab('Page.navigate', { url: 'about:blank' });
  await tab('Page.navigate', { url: address });
  for (;;) {
    // Polled in the page itself: a request from outside would wait in its queue.
    const at = await evaluate(`new Promise((done) => { const look = () => (document.getElementById('title') ? done(performance.now()) : requestAnimationFrame(look)); look(); })`).catch(() => null);
    if (at) return at;
  }
}

// ---- the measurements -----------------------------------------------------------------------------------------------------------

await new Promise((done) => server.listen(0, '127.0.0.1', done));
const url = `http://127.0.0.1:${server.address().port}/`;
const line = (name, value, remark = '') => console.log(JSON.stringify({ name, value, remark }));
const load = () => loadavg()[0].toFixed(1);
line('load of this machine before', load());
const shown = await open(url);
const [first, filesIn] = await evaluate(`[performance.getEntriesByName('first-contentful-paint')[0]?.startTime, performance.getEntriesByType('resource').length]`);
line(`first paint of a fresh load (${filesIn} files)`, `${Math.round(first)} ms`);
line(`${NODES} nodes, ${CONTAINERS} containers: on screen after`, `${Math.round(shown)} ms`);

await tab('Performance.enable');
/** The processor time of the page's main thread so far, in seconds. */
const computed = async () => (await tab('Performance.getMetrics')).metrics.find(({ name }) => name === 'ThreadTime').value;

/** Sends events, and measures the duration of each frame meanwhile. */
async function frames(name, view, during = '') {
  if (!name.includes(process.env.VIEWS ?? '')) return;
  await open(url + view);
  await pause(2500);
  const before = seq;
  const begun = performance.now();
  // All events that are due, also when this timer fires late.
  const timer = setInterval(() => {
    const told = [...sockets, ...streams];
    for (const one of told) one.cork();
    while (seq - before < ((performance.now() - begun) / 1000) * RATE) happen();
    for (const one of told) one.uncork();
  }, TICK_MS);
  await pause(1000);
  const [cpuBefore, at0] = [await computed(), performance.now()];
  const times = await evaluate(`new Promise((done) => {
    const times = [];
    const begun = performance.now();
    const frame = (at) => {
      times.push(at);
      ${during}
      if (at - begun < ${SECONDS * 1000}) requestAnimationFrame(frame);
      else done(times);
    };
    requestAnimationFrame(frame);
  })`);
  const deltas = times.slice(1).map((time, index) => time - times[index]).sort((a, b) => a - b);
  const cpu = ((await computed()) - cpuBefore) / ((performance.now() - at0) / 1000);
  clearInterval(timer);
  const flowed = ((seq - before) * 1000) / (performance.now() - begun);
  const at = (share) => deltas[Math.floor(deltas.length * share)].toFixed(1);
  const rate = deltas.length / (deltas.reduce((sum, one) => sum + one, 0) / 1000);
  line(`${name}: frames while events flow`, `${rate.toFixed(1)}/s`, `p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, longest ${deltas.at(-1).toFixed(0)} ms, main thread ${Math.round(cpu * 100)} % of a processor, events ${Math.round(flowed)}/s, load ${load()}`);
}

await frames('heat map', '#/');
await frames('tiles', '#/?zoom=tiles');
await frames('tiles, scrolled all the time', '#/?zoom=tiles', 'scrollBy(0, 12);');
await frames('names', '#/?zoom=names');
await frames('table of containers', '#/containers');
await frames('events', '#/events');
line('memory of the page', `${Math.round((await evaluate('performance.memory.usedJSHeapSize')) / 1e6)} MB`);
const closed = new Promise((done) => browser.once('exit', done));
await ask('Browser.close');
await closed;
rmSync(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
process.exit(0);
