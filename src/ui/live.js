// What keeps the UI current. The lists say what there is, the WebSocket says each change of it, and the event stream says why
// (feed.js hears those two).
// All three begin anew by themselves when the daemon was away: events go on behind the last one that was seen,
// and rows that are gone from the lists go.

import { batch, signal } from './html.js';
import { address, send, seqOf } from './api.js';
import { KINDS, World } from './world.js';
import { learnNames } from './words.js';

/** The cluster as it is. */
export const live = new World();
/** How the connection is: `loading`, `live` or `lost`. */
export const link = signal('loading');
/** Whether the list of a kind was read: what is short comes first, and can be shown before the rest is here. */
export const listed = Object.fromEntries(KINDS.map((kind) => [kind, signal(false)]));
/** How far the first load is, in words. */
export const progress = signal('');
/** The last event that was heard of. */
export const head = signal(0);
/** The newest events but raw observations, oldest first. */
export const recent = signal([]);

/** How many events are kept. */
const RECENT = 5000;
/** What changes may take of one frame, in milliseconds. */
const FRAME_BUDGET_MS = 6;
/** When more than so many changes come in a frame, tables and counts show them in steps: nobody reads faster. */
const BUSY = 6;
const BUSY_STEP_MS = 100;
/** So many cards are drawn anew in one frame, the others in the next ones: a frame must not wait for all of them. */
const CARDS = 5;
/** While somebody scrolls, all of it waits for steps as long as this: a page that is scrolled and changed in one frame is painted as a whole. */
const SCROLL_STEP_MS = 300;
const SCROLL_REST_MS = 120;
const RETRY_MS = [300, 500, 1000, 2000, 4000];

let feed = null;
/** What was handed over and is not shown yet, as texts. */
let changes = [];
let events = [];
let seen = 0;
let scheduled = false;
let attempt = 0;
let shownAt = 0;
let applied = 0;
/** Whether the feed waits to hear that all it handed over is applied. */
let owed = false;
/** What was removed while a list was on its way, so that the list does not bring it back. */
let gone = new Set();

let scrolledAt = -SCROLL_REST_MS;
/** Whether somebody scrolls just now. */
export const isScrolling = () => performance.now() - scrolledAt < SCROLL_REST_MS;

export function start() {
  addEventListener('scroll', () => (scrolledAt = performance.now()), { passive: true });
  hear();
}

/** Begins the feed; anew when it could not be loaded (the network was away just then). */
function hear() {
  feed = new Worker(new URL('./feed.js', import.meta.url), { type: 'module' });
  feed.onerror = () => {
    feed.terminate();
    [changes, owed] = [[], false];
    link.value = 'lost';
    setTimeout(hear, pause());
  };
  feed.onmessage = ({ data: { rows, events: heard, seen: last, link: state, deaf } }) => {
    if (state === 'open') begin();
    if (state === 'closed') again();
    if (deaf) setTimeout(listen, 1000);
    if (!rows) return;
    for (const row of rows) changes.push(row);
    for (const event of heard) events.push(event);
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
  // A hidden tab draws no frames, and must not pile up what comes.
  if (document.hidden) setTimeout(drain, 500);
  else requestAnimationFrame(drain);
}

/** Applies what came since the last frame; what does not fit into this one waits for the next. */
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
      const happened = JSON.parse(`[${events.join()}]`);
      learnNames(happened);
      const kept = recent.peek().concat(happened);
      recent.value = kept.length > RECENT ? kept.slice(-RECENT) : kept;
      events = [];
    }
  });
  if (changes.length || more) schedule();
}

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

/** Asks for the changes of rows. */
function follow() {
  gone = new Set();
  feed.postMessage({
    follow: {
      address: location.origin.replace(/^http/, 'ws') + address('//ws'),
      kinds: KINDS,
    },
  });
}

/** From here on each change is told: the lists are what it is a change of. */
async function begin() {
  try {
    await load();
    attempt = 0;
    link.value = 'live';
  } catch {
    feed.postMessage({ unfollow: true });
  }
}

function again() {
  changes = [];
  link.value = 'lost';
  setTimeout(follow, pause());
}

/** How long to wait before the next try. */
const pause = () => RETRY_MS[Math.min(attempt++, RETRY_MS.length - 1)];

/** Reads the lists, and forgets what they do not have. */
async function load() {
  await Promise.all(
    KINDS.map(async (kind) => {
      const answer = await send('GET', `/${kind}`);
      const seq = seqOf(answer);
      const rows = JSON.parse(await textOf(answer, kind));
      const ids = new Set();
      for (const row of rows) {
        ids.add(row.id);
        if (!gone.has(row.id)) live.put(kind, row);
      }
      // What is newer than the list was told by the WebSocket, and is not in it for that reason.
      for (const [id, row] of live[kind]) if (!ids.has(id) && row.seq <= seq) live.remove(kind, id);
      batch(() => {
        if (seq > head.peek()) head.value = seq;
        listed[kind].value = true;
        live.commit();
      });
    }),
  );
  progress.value = '';
}

async function textOf(answer, kind) {
  const decoder = new TextDecoder();
  const parts = [];
  let bytes = 0;
  for await (const chunk of chunks(answer.body)) {
    bytes += chunk.length;
    parts.push(decoder.decode(chunk, { stream: true }));
    if (bytes > 300_000) progress.value = `${kind}: ${(bytes / 1e6).toFixed(1)} MB read`;
  }
  return parts.join('');
}

/** The pieces of a body as they come (not every browser iterates over a stream by itself). */
export async function* chunks(body) {
  const reader = body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

/** Asks for events, as they happen. */
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
