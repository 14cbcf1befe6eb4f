// A container's output, live: follow, search, wrap, download.
// @ts-check

/** @import { ContainerRow } from '../types.js' */

import { address, Problem, seg, send } from '../api.js';
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from '../html.js';
import { chunks } from '../live.js';
import { number } from '../pure/format.js';
import { past } from '../time.js';
import { Failure } from './bits.js';

/** How many lines are kept, and how many are read at first. */
const LINES = 5000;
const TAIL = 1000;
const DRAW_MS = 100;
/** Scrolled less than this from the end, in pixels, the output is followed. */
const NEAR_END = 40;

/**
 * @typedef {{lines: string[], first: number, problem: Problem | null, ended: boolean}} Output
 *   `first`:
 *   the number of the first line
 */

/** @param {{row: ContainerRow}} props */
export function Logs({ row }) {
  const [follow, setFollow] = useState(true);
  const [wrap, setWrap] = useState(true);
  const [find, setFind] = useState('');
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const output = useOutput(row, Boolean(row.container_id) && !past.value);

  useLayoutEffect(() => {
    if (follow && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [output.lines, follow, wrap, find]);

  const wanted = find.toLowerCase();
  const found = useMemo(() => {
    const numbered = output.lines.map((line, index) => ({ number: output.first + index, line }));
    if (!wanted) return numbered;
    return numbered.filter(({ line }) => line.toLowerCase().includes(wanted));
  }, [output.lines, wanted]);

  if (past.value) return html`<p class="note">Output is live only. Go back to now to read it.</p>`;
  if (!row.container_id) return html`<p class="note">No output: the container is on no engine.</p>`;
  /** @param {{currentTarget: HTMLElement}} event */
  const scrolled = ({ currentTarget: { scrollTop, scrollHeight, clientHeight } }) =>
    setFollow(scrollHeight - scrollTop - clientHeight < NEAR_END);
  const total = `${number(output.lines.length)} lines`;
  return html`<div class="logs">
    <div class="tools">
      <input
        type="search"
        id="search"
        placeholder="Search the output"
        aria-label="Search the output"
        value=${find}
        onInput=${(/** @type {any} */ event) => setFind(event.target.value)}
      />
      <span class="faint" role="status">
        ${wanted ? `${number(found.length)} of ${total}` : total}${output.ended && ', ended'}
      </span>
      <${Check} label="Follow" checked=${follow} set=${setFollow} />
      <${Check} label="Wrap" checked=${wrap} set=${setWrap} />
      <a
        class="button"
        href=${address(`/containers/${seg(row.id)}/logs`)}
        download=${`${row.name}.log`}
      >
        Download
      </a>
    </div>
    <${Failure} problem=${output.problem} what="container output" />
    <pre
      ref=${box}
      class=${`output ${wrap ? 'is-wrapped' : ''}`}
      tabindex="0"
      role="log"
      aria-live="off"
      aria-label=${`Output of ${row.name}`}
      onScroll=${scrolled}
    >
      ${found.map(
        ({ number, line }) => html`<span key=${number} class="line">
          ${wanted ? marked(line, wanted) : line}${'\n'}
        </span>`,
      )}
      ${
        !found.length &&
        html`<span class="faint">${wanted ? 'Nothing matches.' : 'No output yet'}</span>`
      }
    </pre>
  </div>`;
}

/** @param {{label: string, checked: boolean, set: (checked: boolean) => void}} props */
function Check({ label, checked, set }) {
  /** @param {{currentTarget: HTMLInputElement}} event */
  const change = ({ currentTarget }) => set(currentTarget.checked);
  return html`<label class="check">
    <input type="checkbox" checked=${checked} onChange=${change} />${' '}${label}
  </label>`;
}

/**
 * The output of a container, followed while it is `wanted`.
 * @param {ContainerRow} row
 * @param {boolean} wanted
 */
function useOutput(row, wanted) {
  const [output, setOutput] = useState(
    /** @type {Output} */ ({ lines: [], first: 0, problem: null, ended: false }),
  );
  useEffect(() => {
    if (!wanted) return;
    const abort = new AbortController();
    /** @type {string[]} */
    let lines = [];
    let first = 0;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    /** @param {{problem?: Problem, ended?: boolean}} more */
    const draw = ({ problem = undefined, ended = false } = {}) => {
      clearTimeout(timer);
      timer = undefined;
      if (!abort.signal.aborted) setOutput({ lines, first, problem: problem ?? null, ended });
    };
    /** @param {string[]} more */
    const add = (more) => {
      lines = lines.concat(more);
      const dropped = Math.max(0, lines.length - LINES);
      lines = lines.slice(dropped);
      first += dropped;
      timer ??= setTimeout(draw, DRAW_MS);
    };
    draw();
    readLines(row.id, abort.signal, add).then(
      () => draw({ ended: true }),
      (error) => draw(error instanceof Problem ? { problem: error } : { ended: true }),
    );
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [row.id, row.container_id, row.status === 'UP', wanted]);
  return output;
}

/**
 * Follows the output of a container to its end.
 * @param {string} id
 * @param {AbortSignal} abort
 * @param {(lines: string[]) => void} add takes whole lines
 */
async function readLines(id, abort, add) {
  const query = { follow: 'true', tail: TAIL };
  const answer = await send('GET', `/containers/${seg(id)}/logs`, { query, signal: abort });
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of chunks(answer)) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = parts.pop() ?? '';
    add(parts);
  }
  if (rest) add([rest]);
}

/**
 * A line with the matches of a search marked.
 * @param {string} line
 * @param {string} wanted in lower case
 */
function marked(line, wanted) {
  const parts = [];
  const lower = line.toLowerCase();
  let from = 0;
  for (let at = lower.indexOf(wanted); at >= 0; at = lower.indexOf(wanted, from)) {
    const end = at + wanted.length;
    parts.push(line.slice(from, at), html`<mark>${line.slice(at, end)}</mark>`);
    from = end;
  }
  parts.push(line.slice(from));
  return parts;
}
