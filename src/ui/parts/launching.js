// How far launches are. The daemon is asked while a container that is being launched is in sight,
// one request at a time.
// @ts-check

/** @import { ContainerRow, Progress } from '../types.js' */
/** @import { Signal } from '../vendor/signals.js' */

import { read, seg } from '../api.js';
import { html, signal, useEffect, useState } from '../html.js';
import { bytes } from '../pure/format.js';
import { past } from '../time.js';
import { Ago } from './bits.js';
import { useLoad } from './hooks.js';

/** Launches that take less are not asked about. */
const PATIENCE_MS = 700;
/** The least time between two requests about one container, and between any two. */
const EVERY_MS = 500;
const BREATH_MS = 100;

/** @typedef {{progress: Signal<Progress | null>, users: number}} Watched */

/**
 * What is in sight, by id. The one that was asked about longest ago is first.
 * @type {Map<string, Watched>}
 */
const watched = new Map();
/** @type {ReturnType<typeof setTimeout> | null} */
let timer = null;

async function turn() {
  const [first] = watched;
  if (!first) {
    timer = null;
    return;
  }
  const [id, entry] = first;
  watched.delete(id);
  watched.set(id, entry);
  try {
    // A hidden tab asks nothing.
    if (!document.hidden) entry.progress.value = await read(`/containers/${seg(id)}/progress`);
  } catch {
    // The container is gone, or the daemon does not answer: the rows show that.
    entry.progress.value = null;
  }
  timer = setTimeout(turn, Math.max(BREATH_MS, EVERY_MS / Math.max(1, watched.size)));
}

/** @param {string} id */
function watch(id) {
  let entry = watched.get(id);
  if (!entry) {
    entry = { progress: signal(/** @type {Progress | null} */ (null)), users: 0 };
    watched.set(id, entry);
  }
  entry.users++;
  timer ??= setTimeout(turn);
  return entry;
}

/**
 * @param {string} id
 * @param {Watched} entry
 */
function unwatch(id, entry) {
  if (--entry.users === 0) watched.delete(id);
}

/**
 * The pull that the launch of a container waits for; null while none is known.
 * @param {ContainerRow} row
 */
function usePull({ id, status }) {
  const [progress, set] = useState(/** @type {Progress | null} */ (null));
  const isLaunching = status === 'LAUNCHING' && !past.value;
  useEffect(() => {
    if (!isLaunching) return;
    /** @type {Watched | null} */
    let entry = null;
    /** @type {(() => void) | undefined} */
    let dispose;
    const wait = setTimeout(() => {
      entry = watch(id);
      dispose = entry.progress.subscribe(set);
    }, PATIENCE_MS);
    return () => {
      clearTimeout(wait);
      dispose?.();
      if (entry) unwatch(id, entry);
      set(null);
    };
  }, [id, isLaunching]);
  return isLaunching && progress?.step === 'pulling' ? progress : null;
}

/** @param {Progress} pull */
const hasPercent = ({ percent }) => percent !== null && percent !== undefined;

/**
 * In a list: how much of its image has been pulled.
 * @param {{row: ContainerRow}} props
 */
export function Pulled({ row }) {
  const pull = usePull(row);
  if (!pull || !hasPercent(pull)) return null;
  return html`
    ${' '}
    <span class="pulled" title=${`pulling ${pull.image}`}>${pull.percent} %</span>
  `;
}

/**
 * On a container's own page: what its launch waits for.
 * @param {{row: ContainerRow}} props
 */
export function Launching({ row }) {
  const pull = usePull(row);
  if (!pull || !hasPercent(pull)) {
    return html`
      <progress class="thin" aria-label="Launching"></progress>
      ${pull && html`<span class="faint"> pulling ${pull.image}</span>`}
    `;
  }
  const sizes = `${bytes(pull.bytes)} of ${bytes(pull.of)}`;
  return html`
    <progress
      class="thin"
      max="100"
      value=${pull.percent}
      aria-label=${`Pulling ${pull.image}`}
    ></progress>
    ${' '}
    <span class="faint">pulling ${pull.image}: ${pull.percent} %, ${sizes}</span>
  `;
}

/**
 * Since when a container has its status: the time of its last change.
 * @param {{row: ContainerRow}} props
 */
export function Since({ row }) {
  const { data } = useLoad((abort) => read(`/events/${row.seq}`, {}, abort), [row.seq]);
  return data && html`<span class="faint">since <${Ago} at=${data.at} /></span>`;
}
