// A container's output, live: follow, search, wrap, download.

import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from '../html.js';
import { address, Problem, seg, send } from '../api.js';
import { chunks } from '../live.js';
import { past } from '../time.js';
import { number } from '../words.js';
import { Failure } from '../parts/bits.js';

/** So many lines are kept. */
const LINES = 5000;
const TAIL = 1000;
const DRAW_MS = 100;

export function Logs({ row }) {
  const [state, setState] = useState({ lines: [], first: 0, problem: null, ended: false });
  const [follow, setFollow] = useState(true);
  const [wrap, setWrap] = useState(true);
  const [find, setFind] = useState('');
  const box = useRef();
  const running = Boolean(row.container_id) && !past.value;

  useEffect(() => {
    if (!running) return;
    const abort = new AbortController();
    let lines = [];
    let first = 0;
    let rest = '';
    let timer = null;
    const draw = (more = {}) => {
      clearTimeout(timer);
      timer = null;
      if (!abort.signal.aborted) setState({ lines, first, problem: null, ended: false, ...more });
    };
    (async () => {
      try {
        const answer = await send('GET', `/containers/${seg(row.id)}/logs`, {
          query: { follow: 'true', tail: TAIL },
          signal: abort.signal,
        });
        const decoder = new TextDecoder();
        for await (const chunk of chunks(answer.body)) {
          const parts = (rest + decoder.decode(chunk, { stream: true })).split('\n');
          rest = parts.pop();
          lines = lines.concat(parts);
          if (lines.length > LINES) {
            first += lines.length - LINES;
            lines = lines.slice(-LINES);
          }
          timer ??= setTimeout(draw, DRAW_MS);
        }
        if (rest) lines = [...lines, rest];
        draw({ ended: true });
      } catch (error) {
        if (error instanceof Problem) draw({ problem: error });
        else if (!abort.signal.aborted) draw({ ended: true });
      }
    })();
    draw();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [row.id, row.container_id, row.status === 'UP', running]);

  useLayoutEffect(() => {
    if (follow && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [state.lines, follow, wrap, find]);

  const wanted = find.toLowerCase();
  const found = useMemo(() => {
    const numbered = state.lines.map((line, index) => [state.first + index, line]);
    return wanted ? numbered.filter(([, line]) => line.toLowerCase().includes(wanted)) : numbered;
  }, [state.lines, wanted]);

  if (past.value)
    return html`<p class="note">
      The output of a container is not part of the log: it can be read now alone.
    </p>`;
  if (!row.container_id)
    return html`<p class="note">It is on no engine now, so there is no output to read.</p>`;
  const scrolled = () => {
    const { scrollTop, scrollHeight, clientHeight } = box.current;
    setFollow(scrollHeight - scrollTop - clientHeight < 40);
  };
  return html`<div class="logs">
    <div class="tools">
      <input
        type="search"
        id="search"
        placeholder="Search in the output"
        aria-label="Search in the output"
        value=${find}
        onInput=${(event) => setFind(event.target.value)}
      />
      <span class="faint" role="status">
        ${
          wanted
            ? `${number(found.length)} of ${number(state.lines.length)} lines`
            : `${number(state.lines.length)} lines`
        }
        ${state.ended ? ', it ended' : ''}
      </span>
      <label class="check">
        <input
          type="checkbox"
          checked=${follow}
          onChange=${(event) => setFollow(event.target.checked)}
        />${' '}
        Follow
      </label>
      <label class="check">
        <input
          type="checkbox"
          checked=${wrap}
          onChange=${(event) => setWrap(event.target.checked)}
        />${' '}
        Wrap
      </label>
      <a
        class="button"
        href=${address(`/containers/${seg(row.id)}/logs`)}
        download=${`${row.name}.log`}
      >
        Download
      </a>
    </div>
    ${state.problem && html`<${Failure} problem=${state.problem} what="the output" />`}
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
        ([key, line]) => html`<span key=${key} class="line">
          ${wanted ? marked(line, wanted) : line}
          ${'\n'}
        </span>`,
      )}
      ${
        !found.length &&
        html`<span class="faint">
          ${wanted ? 'Nothing matches.' : 'Nothing was written yet.'}
        </span>`
      }
    </pre>
  </div>`;
}

/** The line with what was searched for marked. */
function marked(line, wanted) {
  const parts = [];
  const lower = line.toLowerCase();
  let from = 0;
  for (let at = lower.indexOf(wanted); at >= 0; at = lower.indexOf(wanted, from)) {
    parts.push(line.slice(from, at), html`<mark>${line.slice(at, at + wanted.length)}</mark>`);
    from = at + wanted.length;
  }
  parts.push(line.slice(from));
  return parts;
}
