// Keeps the UI current. The lists say what there is, the WebSocket reports each change of it, and
// the event stream says why (feed.js listens to these two). All three start again by themselves
// after the daemon was away: events continue after the last one seen, and rows that are gone from
// the lists are removed.
// @ts-check

/** @import { Event, Kind } from './types.js' */

import { address, send, seqOf } from './api.js';
import { batch, signal } from './html.js';
import { learnNames } from './names.js';
import { KINDS, World } from './world.js';

/** The cluster as it is now. */
export const live = new World();
/** The state of the connection. */
export const link = signal(/** @type {'loading' | 'live' | 'lost'} */ ('loading'));
/** Whether the list of a kind has been read. Short lists arrive first and are shown at once. */
export const listed = {
  nodes: signal(false),
  applications: signal(false),
  containers: signal(false),
};
/** How far the first load is, in words. */
export const progress = signal('');
/** The seq of the last event that was received. */
export const head = signal(0);
/** The newest events without raw observations, oldest first. */
export const recent = signal(/** @type {Event[]} */ ([]));

/** How many events are kept. */
const RECENT = 5000;
/** The part of a frame that applying changes may take, in milliseconds. */
const FRAME_BUDGET_MS = 6;
/**
 * With more changes in a frame than this, tables and counts are updated in steps: no one reads
 * faster.
 */
const BUSY = 6;
const BUSY_STEP_MS = 100;
/**
 * How many cards are drawn in one frame; the others wait for the next ones, so that no frame takes
 * long.
 */
const CARDS = 5;
/**
 * While the page is scrolled, updates wait this long: a frame that scrolls and changes is painted
 * as a whole.
 */
const SCROLL_STEP_MS = 300;
const SCROLL_REST_MS = 120;
const RETRY_MS = [300, 500, 1000, 2000, 4000];

/** @type {Worker} */
let feed;
/** Changes that were received and are not applied yet, as JSON texts. @type {string[]} */
let changes = [];
/** @type {string[]} */
let events = [];
let seen = 0;
let scheduled = false;
let attempt = 0;
let shownAt = 0;
let applied = 0;
/** Whether the feed waits for the confirmation that its changes are applied. */
let owed = false;
/**
 * Ids that were removed while a list was being read, so that the list does not bring them back.
 * @type {Set<string>}
 */
let gone = new Set();

let scrolledAt = -SCROLL_REST_MS;
/** Whether the page is being scrolled. */
export const isScrolling = () => performance.now() - scrolledAt < SCROLL_REST_MS;

export function start() {
  addEventListener('scroll', () => (scrolledAt = performance.now()), { passive: true });
  startFeed();
}

/**
 * Starts the feed, and starts it again when it could not be loaded (the network may have changed).
 */
function startFeed() {
  feed = new Worker(new URL('./feed.js', import.meta.url), { type: 'module' });
  feed.onerror = () => {
    feed.terminate();
    [changes, owed] = [[], false];
    link.value = 'lost';
    setTimeout(startFeed, pause());
  };
  feed.onmessage = ({ data: { rows, events: received, seen: last, link: state, deaf } }) => {
    if (state === 'open') begin();
    if (state === 'closed') reconnect();
    if (deaf) setTimeout(listen, 1000);
    if (!rows) return;
    for (const row of rows) changes.push(row);
    for (const event of received) events.push(event);
    seen = Math.max(seen, last);
    owed = true;
    schedule();
  };
  follow();
  listen();
}

function schedule() {
  if (scheduled) return;
  scheduled = true;
  // A hidden tab draws no frames, and changes must not pile up in it.
  if (document.hidden) setTimeout(drain, 500);
  else requestAnimationFrame(drain);
}

/**
 * Applies what was received since the last frame; what does not fit into this frame waits for the
 * next.
 */
function drain() {
  scheduled = false;
  const end = performance.now() + (document.hidden ? 200 : FRAME_BUDGET_MS);
  let index = 0;
  while (index < changes.length && performance.now() < end) apply(changes[index++]);
  applied += index;
  changes = index === changes.length ? [] : changes.slice(index);
  if (owed && !changes.length) {
    owed = false;
    feed.postMessage({ taken: true });
  }
  const now = performance.now();
  const scrolls = isScrolling();
  if (scrolls && now - shownAt < SCROLL_STEP_MS) return schedule();
  const more = live.commitCards(document.hidden || scrolls ? Infinity : CARDS);
  if (applied > BUSY && now - shownAt < BUSY_STEP_MS) return schedule();
  [applied, shownAt] = [0, now];
  batch(() => {
    live.commitKinds();
    if (seen > head.peek()) head.value = seen;
    if (events.length) {
      /** @type {Event[]} */
      const happened = JSON.parse(`[${events.join()}]`);
      learnNames(happened);
      const kept = recent.peek().concat(happened);
      recent.value = kept.length > RECENT ? kept.slice(-RECENT) : kept;
      events = [];
    }
  });
  if (changes.length || more) schedule();
}

/** @param {string} text a message of the WebSocket */
function apply(text) {
  const { name, data } = JSON.parse(text);
  const [kind, change] = name.split(' ');
  if (change === 'remove') {
    gone.add(data.id);
    live.remove(kind, data.id);
  } else if (change) {
    live.put(kind, data);
  }
}

/** Subscribes to the changes of rows. */
function follow() {
  gone = new Set();
  const origin = location.origin.replace(/^http/, 'ws');
  feed.postMessage({ follow: { address: origin + address('//ws'), kinds: KINDS } });
}

/** Reads the lists once every further change is reported. */
async function begin() {
  try {
    await load();
    attempt = 0;
    link.value = 'live';
  } catch {
    feed.postMessage({ unfollow: true });
  }
}

function reconnect() {
  changes = [];
  link.value = 'lost';
  setTimeout(follow, pause());
}

/** How long to wait before the next attempt, in milliseconds. */
const pause = () => RETRY_MS[Math.min(attempt++, RETRY_MS.length - 1)];

/** Reads the lists, and removes the rows that they no longer have. */
async function load() {
  await Promise.all(KINDS.map(loadKind));
  progress.value = '';
}

/** @param {Kind} kind */
async function loadKind(kind) {
  const answer = await send('GET', `/${kind}`);
  const seq = seqOf(answer);
  const rows = JSON.parse(await textOf(answer, kind));
  const ids = new Set();
  for (const row of rows) {
    ids.add(row.id);
    if (!gone.has(row.id)) live.put(kind, row);
  }
  // A row newer than the list came by the WebSocket, and is not in the list for that reason.
  for (const [id, row] of live[kind]) if (!ids.has(id) && row.seq <= seq) live.remove(kind, id);
  batch(() => {
    if (seq > head.peek()) head.value = seq;
    listed[kind].value = true;
    live.commit();
  });
}

/**
 * @param {Response} answer
 * @param {Kind} kind
 */
async function textOf(answer, kind) {
  const decoder = new TextDecoder();
  const parts = [];
  let bytes = 0;
  for await (const chunk of chunks(answer)) {
    bytes += chunk.length;
    parts.push(decoder.decode(chunk, { stream: true }));
    if (bytes > 300_000) progress.value = `Reading ${kind}: ${(bytes / 1e6).toFixed(1)} MB`;
  }
  return parts.join('');
}

/**
 * The chunks of a body as they arrive (not every browser iterates over a stream by itself).
 * @param {Response} answer
 */
export async function* chunks({ body }) {
  const reader = body?.getReader();
  while (reader) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

/** Subscribes to events. */
async function listen() {
  if (!seen) {
    try {
      seen = seqOf(await send('GET', '/events', { query: { limit: 1 } }));
      schedule();
    } catch {
      setTimeout(listen, 1000);
      return;
    }
  }
  feed.postMessage({ listen: address('/events/stream', { after: seen }) });
}
