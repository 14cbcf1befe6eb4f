// What keeps the UI current. The lists say what there is, the WebSocket says each change of it, and the event stream says why.
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
/** So many changes that nobody drew: the lists are read anew instead. */
const BACKLOG = 200_000;
/** When more than so many changes come in a frame, they are shown in steps: each card that is drawn anew costs, and nobody reads faster. */
const BUSY = 6;
const BUSY_STEP_MS = 100;
const RETRY_MS = [300, 500, 1000, 2000, 4000];

let changes = [];
let events = [];
let seen = 0;
let scheduled = false;
let attempt = 0;
let shownAt = 0;
let applied = 0;
/** What was removed while a list was on its way, so that the list does not bring it back. */
let gone = new Set();

export function start() {
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
  const now = performance.now();
  if (applied > BUSY && now - shownAt < BUSY_STEP_MS) return schedule();
  [applied, shownAt] = [0, now];
  batch(() => {
    live.commit();
    if (seen > head.peek()) head.value = seen;
    if (events.length) {
      learnNames(events);
      const kept = recent.peek().concat(events);
      recent.value = kept.length > RECENT ? kept.slice(-RECENT) : kept;
      events = [];
    }
  });
  if (changes.length) schedule();
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

/** Rows, over the WebSocket. */
function follow() {
  const socket = new WebSocket(location.origin.replace(/^http/, 'ws') + address('//ws'));
  gone = new Set();
  socket.onopen = async () => {
    for (const kind of KINDS) socket.send(JSON.stringify({ name: `${kind} subscribe` }));
    try {
      await load();
      attempt = 0;
      link.value = 'live';
    } catch {
      socket.close();
    }
  };
  socket.onmessage = ({ data }) => {
    changes.push(data);
    if (changes.length > BACKLOG) socket.close();
    schedule();
  };
  socket.onclose = () => {
    changes = [];
    link.value = 'lost';
    setTimeout(follow, RETRY_MS[Math.min(attempt++, RETRY_MS.length - 1)]);
  };
}

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
      if (seq > head.peek()) head.value = seq;
      live.commit();
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

/** Events, as they happen. */
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
  const source = new EventSource(address('/events/stream', { after: seen }));
  source.onmessage = ({ data, lastEventId }) => {
    seen = Number(lastEventId);
    schedule();
    // Probes are most of what happens, and change nothing that is shown.
    if (data.includes('"kind":"NodeObserved"')) return;
    events.push(JSON.parse(data));
  };
  source.onerror = () => {
    // The browser goes on by itself unless it was answered with an error.
    if (source.readyState !== EventSource.CLOSED) return;
    source.close();
    setTimeout(listen, 1000);
  };
}
