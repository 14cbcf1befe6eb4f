// The moment that the whole UI shows: now, or one of the past.
// @ts-check

/** @import { Point, State } from './types.js' */

import { isAbort, Problem, read } from './api.js';
import { present } from './clock.js';
import { batch, computed, effect, signal } from './html.js';
import { link, live } from './live.js';
import { indexAt, indexOf } from './pure/marks.js';
import { adjust, carried, route } from './router.js';
import { tape } from './tape.js';
import { World } from './world.js';

/** @typedef {{seq: number, at: number, world: World}} Past  `at` in milliseconds since 1970 */

/** The past moment that is shown; null is now. */
export const past = signal(/** @type {Past | null} */ (null));
/** The moment that is being read, in words; null when none is. */
export const travelling = signal(/** @type {string | null} */ (null));
/** Why a moment could not be shown. */
export const refused = signal(/** @type {Problem | null} */ (null));
/** How fast the past is played; 0 is paused. */
export const speed = signal(0);
/** The cluster that is shown. */
export const shown = computed(() => past.value?.world ?? live);
/** Whether commands are off: in the past, and without a connection. */
export const readOnly = computed(() => past.value !== null || link.value === 'lost');

export const SPEEDS = [1, 10, 100, 1000];
const STEP_MS = 120;

/** @type {World | null} */
let then = null;
/** @type {AbortController | null} */
let abort = null;
/** @type {Point | null} */
let wanted = null;

/**
 * Shows the cluster as it was at an event or at a time. While one moment is being read, only the
 * last
 * of the moments asked for meanwhile is read after it.
 * @param {Point} point
 */
export async function travel(point) {
  wanted = point;
  if (abort) return;
  try {
    while (wanted) await show(wanted);
  } catch (problem) {
    if (problem instanceof Problem) {
      refused.value = problem;
      stop();
    } else if (!isAbort(problem)) {
      throw problem;
    }
  } finally {
    abort = null;
    travelling.value = null;
  }
}

/** @param {Point} point */
async function show({ seq, at }) {
  wanted = null;
  const time = new Date(at ?? 0);
  travelling.value = seq ? `event ${seq}` : time.toLocaleString();
  abort = new AbortController();
  const query = seq ? { seq } : { at: time.toISOString() };
  /** @type {State} */
  const state = await read('/state', query, abort.signal);
  const world = (then ??= newWorld());
  world.become(state);
  const moment = { seq: state.seq, at: Math.max(at ?? 0, Date.parse(state.at ?? '')), world };
  batch(() => {
    past.value = moment;
    refused.value = null;
    carried.value = state.seq;
  });
  adjust({});
}

/** A world of the past. Its moves are shown as present moves are. */
function newWorld() {
  const world = new World();
  world.onMove = (...move) => live.onMove?.(...move);
  return world;
}

/** Back to now. */
export function now() {
  abort?.abort();
  wanted = null;
  stop();
  batch(() => {
    past.value = null;
    refused.value = null;
    carried.value = null;
  });
  then = null;
  adjust({});
}

/**
 * Goes one fact forward or back.
 * @param {1 | -1} direction
 */
export function step(direction) {
  const { marks } = tape.peek();
  const moment = past.peek();
  if (!moment) {
    // From now, the first step back shows the cluster before the last fact.
    const before = marks[marks.length - 2];
    if (direction < 0 && before) travel({ seq: before.seq });
    return;
  }
  const next = marks[indexOf(marks, moment.seq) + direction];
  if (next) travel({ seq: next.seq });
  else if (direction > 0) now();
}

/** @type {ReturnType<typeof setInterval> | undefined} */
let timer;

/**
 * Plays on from the moment that is shown.
 * @param {number} times as fast as it happened
 */
export function play(times) {
  stop();
  if (!past.peek()) return;
  speed.value = times;
  let last = performance.now();
  timer = setInterval(() => {
    const elapsed = (performance.now() - last) * speed.peek();
    last = performance.now();
    const moment = past.peek();
    if (!moment || abort) return;
    const at = moment.at + elapsed;
    if (at >= present()) return now();
    const { marks } = tape.peek();
    const mark = marks[indexAt(marks, at)];
    if (mark && mark.seq > moment.seq) travel({ seq: mark.seq, at });
    else past.value = { ...moment, at };
  }, STEP_MS);
}

export function stop() {
  clearInterval(timer);
  speed.value = 0;
}

/** Follows the address: one that names a moment shows it. */
export function begin() {
  effect(() => {
    const seq = Number(route.value.query.get('seq'));
    if (seq && seq !== past.peek()?.seq && seq !== carried.peek()) travel({ seq });
    else if (!seq && past.peek()) now();
  });
}
