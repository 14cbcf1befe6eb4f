// What a container uses of its machine, as small charts. The daemon is asked while they are in
// sight.
// @ts-check

/** @import { ContainerRow, Stats as Sample } from '../types.js' */

import { isAbort, Problem, read, seg } from '../api.js';
import { html, useEffect, useState } from '../html.js';
import { bytes } from '../pure/format.js';
import { past } from '../time.js';
import { Busy, Failure } from './bits.js';
import { Spark } from './chart.js';

const EVERY_MS = 2000;
const POINTS = 60;
/** The least tops of the scales: half of a tenth of a processor, and 1 kB/s. */
const LEAST_CPUS = 0.05;
const LEAST_RATE = 1000;

/** A sample with the time of its arrival (ms). @typedef {Sample & {at: number}} Point */

/** @param {{row: ContainerRow}} props */
export function Stats({ row }) {
  const { points, problem } = useStats(row);
  if (past.value) return html`<p class="note">Usage is live only. Go back to now to see it.</p>`;
  if (row.status !== 'UP') return html`<p class="faint">Not running</p>`;
  if (problem && !points.length) return html`<${Failure} problem=${problem} what="statistics" />`;
  const last = points.at(-1);
  if (!last) return html`<${Busy}>Loading …<//>`;
  const received = rates(points, 'network_received_bytes');
  const sent = rates(points, 'network_sent_bytes');
  const memory = `${bytes(last.memory_bytes)} of ${bytes(last.memory_limit_bytes)}`;
  return html`<div class="sparks">
    <${Spark}
      label="CPUs"
      points=${points.map((point) => point.cpus)}
      limit=${LEAST_CPUS}
      text=${last.cpus.toFixed(2)}
    />
    <${Spark}
      label="Memory"
      points=${points.map((point) => point.memory_bytes)}
      text=${memory}
    />
    <${Spark} label="Received" points=${received} limit=${LEAST_RATE} text=${rateText(received)} />
    <${Spark} label="Sent" points=${sent} limit=${LEAST_RATE} text=${rateText(sent)} />
    <p class="faint">${last.pids} ${last.pids === 1 ? 'process' : 'processes and threads'}</p>
  </div>`;
}

/**
 * The newest samples of a running container.
 * @param {ContainerRow} row
 */
function useStats(row) {
  const [points, setPoints] = useState(/** @type {Point[]} */ ([]));
  const [problem, setProblem] = useState(/** @type {Problem | null} */ (null));
  const isUp = row.status === 'UP' && !past.value;
  useEffect(() => {
    if (!isUp) return;
    const abort = new AbortController();
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    const ask = async () => {
      try {
        // A hidden tab asks nothing.
        if (!document.hidden) {
          /** @type {Sample} */
          const sample = await read(`/containers/${seg(row.id)}/stats`, {}, abort.signal);
          const point = { ...sample, at: performance.now() };
          setPoints((before) => [...before, point].slice(-POINTS));
          setProblem(null);
        }
      } catch (error) {
        if (isAbort(error)) return;
        if (!(error instanceof Problem)) throw error;
        setProblem(error);
      }
      timer = setTimeout(ask, EVERY_MS);
    };
    setPoints([]);
    ask();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [row.id, row.generation, isUp]);
  return { points, problem };
}

/**
 * A counter's growth per second, between one sample and the next.
 * @param {Point[]} points
 * @param {'network_received_bytes' | 'network_sent_bytes'} field
 */
function rates(points, field) {
  return points.slice(1).map((point, index) => {
    const before = points[index];
    return Math.max(0, ((point[field] - before[field]) * 1000) / (point.at - before.at));
  });
}

/** @param {number[]} rates */
function rateText(rates) {
  const last = rates.at(-1);
  return last === undefined ? '…' : `${bytes(last)}/s`;
}
