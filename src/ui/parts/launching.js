// How far launches are: asked for while a container that is being launched is in sight, one question at a time.

import { html, signal, useEffect, useState } from '../html.js';
import { read, seg } from '../api.js';
import { past } from '../time.js';
import { bytes } from '../words.js';

/** A launch that is done sooner is not asked about. */
const PATIENCE_MS = 700;
/** From one question about a container to the next, at least; and about any. */
const EVERY_MS = 500;
const BREATH_MS = 100;

/** What is in sight, by id: {progress, users}. The one that was asked about longest ago is first. */
const watched = new Map();
let timer = null;

async function turn() {
  const [id, entry] = watched.entries().next().value ?? [];
  if (!id) return (timer = null);
  watched.delete(id);
  watched.set(id, entry);
  try {
    // A tab that nobody sees asks nothing.
    if (!document.hidden) entry.progress.value = await read(`/containers/${seg(id)}/progress`);
  } catch {
    // It is gone, or the daemon does not answer: the rows tell that.
    entry.progress.value = null;
  }
  timer = setTimeout(turn, Math.max(BREATH_MS, EVERY_MS / Math.max(1, watched.size)));
}

function watch(id) {
  let entry = watched.get(id);
  if (!entry) watched.set(id, (entry = { progress: signal(null), users: 0 }));
  entry.users++;
  timer ??= setTimeout(turn);
  return entry;
}

function unwatch(id, entry) {
  if (--entry.users === 0) watched.delete(id);
}

/** How far the launch of a container is; null while that is not known, or there is none. */
function useProgress({ id, status }) {
  const [progress, set] = useState(null);
  const goesOn = status === 'LAUNCHING' && !past.value;
  useEffect(() => {
    if (!goesOn) return;
    let entry = null;
    let dispose = null;
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
  }, [id, goesOn]);
  return goesOn && progress?.step === 'pulling' ? progress : null;
}

const isKnown = (pulling) => pulling && pulling.percent !== null;

/** Behind the status in a list: how much of its image has come. */
export function Pulled({ row }) {
  const pulling = useProgress(row);
  return isKnown(pulling)
    ? html`
      ${' '}
      <span class="pulled" title=${`pulling ${pulling.image}`}>
        ${pulling.percent} %
      </span>
    `
    : null;
}

/** On a container's own page: what its launch waits for. */
export function Launching({ row }) {
  const pulling = useProgress(row);
  if (!isKnown(pulling))
    return html`
      <progress class="thin" aria-label="It is being launched"></progress>
      ${
        pulling &&
        html`
          ${' '}
          <span class="faint">pulling ${pulling.image}</span>
        `
      }
    `;
  return html`
    <progress
      class="thin"
      max="100"
      value=${pulling.percent}
      aria-label=${`Pulling ${pulling.image}`}
    ></progress>
    <span class="faint">
      pulling ${pulling.image}: ${pulling.percent} %, ${bytes(pulling.bytes)} of${' '}
      ${bytes(pulling.of)}
    </span>
  `;
}
