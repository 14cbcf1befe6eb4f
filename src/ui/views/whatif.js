// What if: recorded history under another policy. Both runs over one time axis.
// @ts-check

/** @import { Query, Replay } from '../types.js' */

import { description, isAbort, Problem, routeOf, send } from '../api.js';
import { present } from '../clock.js';
import { html, useRef, useState } from '../html.js';
import { Busy, Failure, Title } from '../parts/bits.js';
import { Chain } from '../parts/chain.js';
import { Steps } from '../parts/chart.js';
import { Help } from '../parts/field.js';
import { follow, labelOf } from '../pure/fields.js';
import { count, number, span } from '../pure/format.js';
import { parsePoint, POINT_EXAMPLES } from '../pure/point.js';
import { route } from '../router.js';

const ABOUT =
  'Replays recorded history under another policy: the same failures, other decisions. ' +
  'Nothing is changed.';
const STRATEGIES = ['spread', 'binpack', 'resources'];
/** How many differences are listed, and how many nodes of the fullest moment. */
const DIFFERENCES = 1000;
const PEAK = 6;

/** @typedef {{name: string, help: string | undefined}} Setting */

/**
 * The settings of a policy, as the daemon describes its answer.
 * @returns {Setting[]}
 */
function settings() {
  const json = routeOf('/replay')?.post?.responses?.[200]?.content?.['application/json'];
  const whole = follow(description.value, json?.schema);
  const parts = [whole, ...(whole?.allOf ?? [])];
  const policy = parts.find((part) => part?.properties?.policy)?.properties?.policy;
  const properties = follow(description.value, policy)?.properties ?? {};
  return Object.entries(properties).map(([name, given]) => {
    const schema = follow(description.value, given);
    return { name, help: schema?.description };
  });
}

/**
 * What a form asks for. Throws a Problem for a field that cannot be read.
 * @param {FormData} form
 */
function requestOf(form) {
  /** @param {string} name */
  const textOf = (name) => String(form.get(name) ?? '').trim();
  /** @param {string} name */
  const pointOf = (name) => {
    const text = textOf(name);
    if (!text) return undefined;
    const point = parsePoint(text, present());
    if (!point) {
      const detail = `\`${text}\` is not a moment: write ${POINT_EXAMPLES}`;
      throw new Problem(422, { field: name, detail });
    }
    return point.seq ?? new Date(point.at ?? 0).toISOString();
  };
  /** @type {Query} */
  const policy = {};
  for (const { name } of settings()) {
    const text = textOf(`policy.${name}`);
    if (text) policy[name] = /^\d+(\.\d+)?$/.test(text) ? Number(text) : text;
  }
  return { from: pointOf('from'), to: pointOf('to'), policy };
}

/** @typedef {{busy?: AbortController, problem?: Problem, data?: Replay}} State */

export function WhatIf() {
  const [state, setState] = useState(/** @type {State} */ ({}));
  const { busy, problem, data } = state;
  /** @param {SubmitEvent & {currentTarget: HTMLFormElement}} event */
  const run = async (event) => {
    event.preventDefault();
    const abort = new AbortController();
    try {
      const body = requestOf(new FormData(event.currentTarget));
      setState({ busy: abort });
      const answer = await send('POST', '/replay', { body, signal: abort.signal });
      setState({ data: await answer.json() });
    } catch (error) {
      if (isAbort(error)) setState({});
      else if (error instanceof Problem) setState({ problem: error });
      else throw error;
    }
  };
  return html`
    <${Title} sub=${ABOUT}>What-if<//>
    <section class="panel">
      <form class="form is-wide" onSubmit=${run}>
        <${Inputs} problem=${problem} />
        <div class="buttons">
          <button class="primary" disabled=${busy}>Replay</button>
          ${busy && html`<button type="button" onClick=${() => busy.abort()}>Stop</button>`}
        </div>
      </form>
      <div aria-live="polite">
        ${busy && html`<${Busy}>Replaying …<//>`}
        ${problem && html`<${Failure} problem=${problem} what="what-if runs (replay)" />`}
      </div>
    </section>
    ${data && html`<${Result} data=${data} />`}
  `;
}

/** @param {{problem: Problem | undefined}} props */
function Inputs({ problem }) {
  const { query } = useRef(route.peek()).current;
  /**
   * @param {string} name
   * @param {unknown} help
   */
  const helpOf = (name, help) =>
    html`<p class="help">
      ${problem?.field === name ? html`<span class="error">${problem.message}</span>` : help}
    </p>`;
  return html`
    <div class="field">
      <label for="whatif-from">From</label>
      <input
        id="whatif-from"
        name="from"
        placeholder="the beginning"
        defaultValue=${query.get('from') ?? ''}
      />
      ${helpOf('from', 'A time, how long ago, or an event')}
    </div>
    <div class="field">
      <label for="whatif-to">To</label>
      <input id="whatif-to" name="to" placeholder="now" defaultValue=${query.get('to') ?? ''} />
      ${helpOf('to', 'Empty: now')}
    </div>
    ${settings().map(
      ({ name, help }) => html`<div class="field" key=${name}>
        <label for=${`whatif-${name}`}>${labelOf(name)}</label>
        <${Input} name=${name} />
        ${helpOf(`policy.${name}`, html`<${Help} text=${help} />`)}
      </div>`,
    )}
  `;
}

/** @param {{name: string}} props */
function Input({ name }) {
  const common = { id: `whatif-${name}`, name: `policy.${name}` };
  if (name !== 'strategy') return html`<input ...${common} placeholder="unchanged" />`;
  return html`<select ...${common}>
    <option value="">unchanged</option>
    ${STRATEGIES.map((one) => html`<option key=${one}>${one}</option>`)}
  </select>`;
}

/** @typedef {Replay['recorded']} Figures */

/**
 * @type {['migrations' | 'launches' | 'failed' | 'down_seconds', string, (value: number) =>
 *   string][]}
 */
const FIGURES = [
  ['migrations', 'Migrations', number],
  ['launches', 'Launches', number],
  ['failed', 'Failed launches', number],
  ['down_seconds', 'Down, over all containers', (seconds) => span(seconds * 1000)],
];

/** @param {Figures} run */
const moves = (run) => count(run.migrations, 'migration');

/** @param {{data: Replay}} props */
function Result({ data }) {
  const { recorded, replayed } = data;
  const differences = data.differences.slice(0, DIFFERENCES);
  const items = differences.map(({ seq, at, says }) => ({ seq, at, says, group: 'moves' }));
  const policy = Object.entries(data.policy).map(
    ([name, value]) => `${name} = ${typeof value === 'object' ? JSON.stringify(value) : value}`,
  );
  return html`
    <section class="panel">
      <h2>Both runs</h2>
      <${Steps}
        label="Imbalance: most minus fewest containers per node"
        lines=${[
          lineOf('recorded', recorded, 'is-recorded'),
          lineOf('replayed', replayed, 'is-replayed'),
        ]}
        from=${Date.parse(data.from.at ?? '')}
        to=${Date.parse(data.to.at ?? '')}
        describe=${`Recorded: ${moves(recorded)}; replayed: ${moves(replayed)}.`}
      />
      <${FigureTable} recorded=${recorded} replayed=${replayed} />
      <h3>Policy</h3>
      <p><code>${policy.join(', ')}</code></p>
    </section>
    <section class="panel">
      <h2>${count(data.differences_count, 'difference')}</h2>
      ${!items.length && html`<p class="faint">Both runs are the same.</p>`}
      <${Chain} items=${items} millis=${false} />
    </section>
  `;
}

/**
 * @param {string} label
 * @param {Figures} run
 * @param {string} className
 */
const lineOf = (label, run, className) => ({
  label,
  className,
  steps: run.imbalance.map(({ at, spread }) => [Date.parse(at), spread]),
});

/** @param {{recorded: Figures, replayed: Figures}} props */
function FigureTable({ recorded, replayed }) {
  /** @param {Figures} run */
  const peakOf = ({ peak }) =>
    peak
      .slice(0, PEAK)
      .map((one) => `${one.node} ${one.containers}`)
      .join(', ') || '–';
  return html`<div class="table-box" tabindex="0" role="region" aria-label="Figures of both runs">
    <table class="plain">
      <thead>
        <tr>
          <th scope="col">Figure</th>
          <th scope="col" class="right">Recorded</th>
          <th scope="col" class="right">Under this policy</th>
        </tr>
      </thead>
      <tbody>
        ${FIGURES.map(
          ([key, label, show]) => html`<tr key=${key}>
            <th scope="row">${label}</th>
            <td class="right">${show(recorded[key])}</td>
            <td class=${`right ${verdictOf(replayed[key] - recorded[key])}`}>
              ${show(replayed[key])}
            </td>
          </tr>`,
        )}
        <tr>
          <th scope="row">Most containers at one time</th>
          <td class="right">${peakOf(recorded)}</td>
          <td class="right">${peakOf(replayed)}</td>
        </tr>
      </tbody>
    </table>
  </div>`;
}

/** Less is better. @param {number} more */
const verdictOf = (more) => (more < 0 ? 'is-good' : more > 0 ? 'is-bad' : '');
