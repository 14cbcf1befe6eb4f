// What a container uses of its machine, as small charts: asked for while they are in sight.

import { html, useEffect, useState } from '../html.js';
import { Problem, read, seg } from '../api.js';
import { past } from '../time.js';
import { bytes } from '../words.js';
import { Busy, Failure } from '../parts/bits.js';
import { Spark } from '../parts/chart.js';

const EVERY_MS = 2000;
const POINTS = 60;

export function Stats({ row }) {
  const [points, setPoints] = useState([]);
  const [problem, setProblem] = useState(null);
  const isUp = row.status === 'UP' && !past.value;
  useEffect(() => {
    if (!isUp) return;
    const abort = new AbortController();
    let timer = null;
    const ask = async () => {
      try {
        // A tab that nobody sees asks nothing.
        if (!document.hidden) {
          const stats = {
            ...(await read(`/containers/${seg(row.id)}/stats`, {}, abort.signal)),
            at: performance.now(),
          };
          setPoints((before) => [...before, stats].slice(-POINTS));
          setProblem(null);
        }
      } catch (error) {
        if (!(error instanceof Problem)) return;
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

  if (past.value)
    return html`<p class="note">What it used is not recorded: it can be seen now alone.</p>`;
  if (row.status !== 'UP') return html`<p class="faint">It does not run.</p>`;
  if (problem && !points.length)
    return html`<${Failure} problem=${problem} what="the use of machines" />`;
  if (!points.length) return html`<${Busy}>Asking its engine …<//>`;
  const last = points.at(-1);
  const rate = (field) =>
    points
      .slice(1)
      .map((point, index) =>
        Math.max(0, ((point[field] - points[index][field]) * 1000) / (point.at - points[index].at)),
      );
  const [received, sent] = [rate('network_received_bytes'), rate('network_sent_bytes')];
  return html`<div class="sparks">
    <${Spark}
      label="Processors"
      points=${points.map((point) => point.cpus)}
      limit=${0.05}
      text=${last.cpus.toFixed(2)}
    />
    <${Spark}
      label="Memory"
      points=${points.map((point) => point.memory_bytes)}
      text=${`${bytes(last.memory_bytes)} of ${bytes(last.memory_limit_bytes)}`}
    />
    <${Spark}
      label="Received"
      points=${received}
      limit=${1000}
      text=${received.length ? `${bytes(received.at(-1))}/s` : '…'}
    />
    <${Spark}
      label="Sent"
      points=${sent}
      limit=${1000}
      text=${sent.length ? `${bytes(sent.at(-1))}/s` : '…'}
    />
    <p class="faint">
      ${last.pids} ${last.pids === 1 ? 'process' : 'processes and threads'}
    </p>
  </div>`;
}
