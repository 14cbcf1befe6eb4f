// The moment that the whole UI shows: now, or one of the past.

import { batch, computed, effect, signal } from './html.js';
import { Problem, read } from './api.js';
import { link, live } from './live.js';
import { adjust, carried, route } from './router.js';
import { indexAt, indexOf, tape } from './tape.js';
import { World } from './world.js';

/** {seq, at (ms), world} of the past; null is now. */
export const past = signal(null);
/** What is on its way, in words; null when nothing is. */
export const travelling = signal(null);
/** Why a moment could not be shown: a Problem. */
export const refused = signal(null);
/** How fast the past is played; 0 is a standstill. */
export const speed = signal(0);
/** The cluster that is shown. */
export const shown = computed(() => past.value?.world ?? live);
/** Commands are for now alone. */
export const readOnly = computed(() => past.value !== null || link.value === 'lost');

export const SPEEDS = [1, 10, 100, 1000];
const STEP_MS = 120;

let then = null;
let abort = null;
let wanted = null;

/** Shows the cluster as it was: at an event or at a time (ms). While one moment is on its way only the last wish counts. */
export async function travel(point) {
  wanted = point;
  if (abort) return;
  try {
    while (wanted) {
      const { seq, at } = wanted;
      wanted = null;
      travelling.value = seq ? `event ${seq}` : new Date(at).toLocaleString();
      abort = new AbortController();
      const state = await read(
        '/state',
        seq ? { seq } : { at: new Date(at).toISOString() },
        abort.signal,
      );
      then ??= newWorld();
      then.become(state);
      const moment = {
        seq: state.seq,
        at: Math.max(at ?? 0, Date.parse(state.at)),
        world: then,
      };
      batch(() => {
        past.value = moment;
        refused.value = null;
        carried.value = state.seq;
      });
      adjust({});
    }
  } catch (problem) {
    if (problem instanceof Problem) {
      refused.value = problem;
      stop();
    } else if (problem.name !== 'AbortError') {
      throw problem;
    }
  } finally {
    abort = null;
    travelling.value = null;
  }
}

/** Moves of the past are seen as those of now are. */
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

/** One fact forward (1) or back (-1). */
export function step(direction) {
  const { marks } = tape.peek();
  const at = past.peek() ? indexOf(marks, past.peek().seq) : marks.length - 1;
  // From now, the first step back shows the cluster before the last thing that happened.
  const next = marks[past.peek() || direction > 0 ? at + direction : at - 1];
  if (next && !(direction > 0 && !past.peek())) travel({ seq: next.seq });
  else if (direction > 0 && past.peek()) now();
}

let timer = null;

/** Plays on from the moment that is shown. */
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
    if (at >= Date.now()) return now();
    const { marks } = tape.peek();
    const mark = marks[indexAt(marks, at)];
    if (mark && mark.seq > moment.seq) travel({ seq: mark.seq, at });
    else past.value = { ...moment, at };
  }, STEP_MS);
}

export function stop() {
  clearInterval(timer);
  timer = null;
  speed.value = 0;
}

/** What somebody types as a time: a clock time, a date and a time, how long ago, or an event's number. */
export function parsePoint(text) {
  const typed = text.trim();
  if (/^#?\d+$/.test(typed)) return { seq: Number(typed.replace('#', '')) };
  const back = typed.match(/^-?(\d+(?:\.\d+)?)\s*(s|sec|m|min|h|d)(?:\s+ago)?$/i);
  if (back) {
    const unit = { s: 1e3, sec: 1e3, m: 60e3, min: 60e3, h: 3600e3, d: 86400e3 }[
      back[2].toLowerCase()
    ];
    return { at: Date.now() - back[1] * unit };
  }
  const clock = typed.match(/^(\d{1,2}):(\d{2})(?::(\d{2}(?:\.\d+)?))?$/);
  if (clock) {
    const at = new Date();
    at.setHours(Number(clock[1]), Number(clock[2]), 0, Number(clock[3] ?? 0) * 1000);
    // A clock time that is still to come today was meant for yesterday.
    return { at: at > Date.now() ? at - 86400e3 : at.getTime() };
  }
  const at = Date.parse(typed.replace(/^(\d{4}-\d{2}-\d{2}) /, '$1T'));
  return Number.isNaN(at) ? null : { at };
}

/** An address that names a moment shows it. */
export function begin() {
  effect(() => {
    const seq = Number(route.value.query.get('seq'));
    if (seq && seq !== past.peek()?.seq && seq !== carried.peek()) travel({ seq });
    else if (!seq && past.peek()) now();
  });
}
