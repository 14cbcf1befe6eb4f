// The tape: the facts of a period, for the time line to draw and for playing.
// @ts-check

/** @import { Event, EventPage, Mark } from './types.js' */

import { read } from './api.js';
import { present } from './clock.js';
import { effect, signal } from './html.js';
import { recent } from './live.js';
import { learnNames } from './names.js';
import { FACTS } from './pure/events.js';
import { markOf } from './pure/marks.js';

const HOUR_MS = 3600e3;
/**
 * How far back the time line goes, in milliseconds; 0 is the beginning.
 * @type {[number, string][]}
 */
export const RANGES = [
  [HOUR_MS / 4, '15 minutes'],
  [HOUR_MS, '1 hour'],
  [6 * HOUR_MS, '6 hours'],
  [24 * HOUR_MS, '1 day'],
  [7 * 24 * HOUR_MS, '7 days'],
  [0, 'everything'],
];
const DEFAULT_MS = RANGES[0][0];
export const range = signal(Number(localStorage.getItem('kdaemon.range') ?? DEFAULT_MS));
/**
 * `from`: where the tape begins, in milliseconds since 1970; `cut`: whether there are more facts
 * than it holds.
 */
export const tape = signal({
  marks: /** @type {Mark[]} */ ([]),
  from: present() - DEFAULT_MS,
  cut: false,
});
export const loading = signal(false);

const PAGE = 10_000;
const PAGES = 5;
/** How many marks are kept; the newest stay. */
const LIMIT = PAGE * PAGES;
/** How many of the newest events are kept whole, with their text. */
const WHOLE = 5000;
/** How often new events are added, in milliseconds: as finely as the strip shows. */
const TAKE_MS = 250;
let last = 0;
let turn = 0;

/** Reads the tape of the chosen range. */
export async function load() {
  const mine = ++turn;
  loading.value = true;
  const from = range.peek() ? present() - range.peek() : 0;
  /** @type {Mark[]} */
  const marks = [];
  let cut = false;
  let after = null;
  try {
    for (let page = 0; page < PAGES; page++) {
      const since = from ? new Date(from).toISOString() : null;
      /** @type {EventPage} */
      const answer = await read('/events', { kind: FACTS.join(','), limit: PAGE, since, after });
      if (mine !== turn) return;
      learnNames(answer.events);
      for (const event of answer.events) marks.push(markOf(event));
      after = answer.next ?? null;
      cut = after !== null;
      if (!cut) break;
    }
    forget(marks);
    last = Math.max(last, marks.at(-1)?.seq ?? 0);
    tape.value = { marks, from: from || (marks[0]?.at ?? present() - DEFAULT_MS), cut };
    take(recent.peek());
  } finally {
    if (mine === turn) loading.value = false;
  }
}

/**
 * Drops the text of old marks: a long tape needs no memory for it.
 * @param {Mark[]} marks
 */
function forget(marks) {
  for (let i = 0; i < marks.length - WHOLE && marks[i].event; i++) marks[i].event = null;
}

/**
 * Adds the events that are newer than the tape.
 * @param {Event[]} events
 */
function take(events) {
  const newest = events.at(-1)?.seq ?? 0;
  if (newest <= last) return;
  let first = events.length;
  while (first > 0 && events[first - 1].seq > last) first--;
  const { marks, from, cut } = tape.peek();
  let all = marks.concat(events.slice(first).map(markOf));
  last = newest;
  const oldest = range.peek() ? present() - range.peek() : 0;
  const dropped = Math.max(0, all.length - LIMIT);
  if (dropped) all = all.slice(dropped + PAGE / 10);
  tape.value = { marks: all, from: Math.max(from, oldest), cut: cut || dropped > 0 };
}

/** Reads the tape, and keeps it current. */
export function begin() {
  load().catch(() => {});
  /** @type {ReturnType<typeof setTimeout> | null} */
  let waiting = null;
  effect(() => {
    recent.value;
    waiting ??= setTimeout(() => {
      waiting = null;
      if (!loading.peek()) take(recent.peek());
    }, TAKE_MS);
  });
  effect(() => {
    localStorage.setItem('kdaemon.range', String(range.value));
  });
}
