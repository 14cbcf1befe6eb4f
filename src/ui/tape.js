// The tape: the facts of a stretch of time, for the time line to draw and for playing.

import { effect, signal } from './html.js';
import { read } from './api.js';
import { recent } from './live.js';
import { FACTS, groupOf, learnNames } from './words.js';

/** How far back the time line goes, in milliseconds; 0: to the beginning. */
export const RANGES = [
  [15 * 60e3, '15 minutes'],
  [60 * 60e3, '1 hour'],
  [6 * 60 * 60e3, '6 hours'],
  [24 * 60 * 60e3, '1 day'],
  [7 * 24 * 60 * 60e3, '7 days'],
  [0, 'everything'],
];
export const range = signal(Number(localStorage.getItem('kdaemon.range') ?? RANGES[0][0]));
/** {marks: [{seq, at, group, kind, event}], from (ms): where it begins, cut: whether there is more than it holds}. */
export const tape = signal({ marks: [], from: Date.now() - RANGES[0][0], cut: false });
export const loading = signal(false);

const PAGE = 10_000;
const PAGES = 5;
/** Marks are thinned beyond this; the newest stay. */
const LIMIT = PAGE * PAGES;
/** So many newest events are kept whole, to be shown in words. */
const WHOLE = 5000;
let heard = 0;
let turn = 0;

/** Reads the tape of the chosen range. */
export async function load() {
  const mine = ++turn;
  loading.value = true;
  const from = range.peek() ? Date.now() - range.peek() : 0;
  const marks = [];
  let cut = false;
  let after = null;
  try {
    for (let page = 0; page < PAGES; page++) {
      const query = {
        kind: FACTS.join(','),
        limit: PAGE,
        since: from ? new Date(from).toISOString() : null,
        after,
      };
      const answer = await read('/events', query);
      if (mine !== turn) return;
      learnNames(answer.events);
      for (const event of answer.events) marks.push(markOf(event));
      after = answer.next;
      cut = after !== null;
      if (!cut) break;
    }
    forget(marks);
    heard = Math.max(heard, marks.at(-1)?.seq ?? 0);
    tape.value = { marks, from: from || (marks[0]?.at ?? Date.now() - RANGES[0][0]), cut };
    take(recent.peek());
  } finally {
    if (mine === turn) loading.value = false;
  }
}

function markOf(event) {
  return {
    seq: event.seq,
    at: Date.parse(event.at),
    group: groupOf(event),
    kind: event.kind,
    event,
  };
}

/** Old marks need no words, and a long tape no memory for them. */
function forget(marks) {
  for (let i = 0; i < marks.length - WHOLE && marks[i].event; i++) marks[i].event = null;
}

/** Adds what was heard since. */
function take(events) {
  if (!events.length || events.at(-1).seq <= heard) return;
  let first = events.length;
  while (first > 0 && events[first - 1].seq > heard) first--;
  const { marks, from, cut } = tape.peek();
  const added = events.slice(first).map(markOf);
  heard = events.at(-1).seq;
  let all = marks.concat(added);
  const oldest = range.peek() ? Date.now() - range.peek() : 0;
  const dropped = Math.max(0, all.length - LIMIT);
  if (dropped) all = all.slice(dropped + PAGE / 10);
  tape.value = { marks: all, from: Math.max(from, oldest), cut: cut || dropped > 0 };
}

/** Listens for what comes; four times a second is as fine as the strip shows. */
export function begin() {
  load().catch(() => {});
  let waiting = null;
  effect(() => {
    recent.value;
    waiting ??= setTimeout(() => {
      waiting = null;
      if (!loading.peek()) take(recent.peek());
    }, 250);
  });
  effect(() => {
    localStorage.setItem('kdaemon.range', range.value);
  });
}

/** The last mark at or before a time, by index; -1 when there is none. */
export function indexAt(marks, at) {
  let low = 0;
  let high = marks.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (marks[middle].at <= at) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** The last mark at or before an event, by index. */
export function indexOf(marks, seq) {
  let low = 0;
  let high = marks.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (marks[middle].seq <= seq) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
