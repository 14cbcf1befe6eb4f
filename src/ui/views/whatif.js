// What if: recorded history under another policy. Both runs over one time axis.

import { html, useRef, useState } from '../html.js';
import { description, has, Problem, schema, send } from '../api.js';
import { route, to } from '../router.js';
import { parsePoint } from '../time.js';
import { clock, count, number, span } from '../words.js';
import { Busy, Failure, Title } from '../parts/bits.js';
import { Steps } from '../parts/chart.js';
import { Help } from '../parts/form.js';

const STRATEGIES = ['spread', 'binpack', 'resources'];
/** What the contract names; the daemon's own description may have more. */
const SETTINGS = [
  { name: 'strategy', help: 'How a node is chosen among those that fit.' },
  { name: 'unhealthy_after', help: 'Failed probes in a row that make a node DOWN.' },
  { name: 'max_migrations', help: 'Containers that may move at a time.' },
];
const SETTING_LIMIT = 40;

/** The settings of a policy, as the daemon describes them. */
function settings() {
  if (!has('/replay')) return SETTINGS;
  const { follow, all } = schema('');
  const body = Object.entries(description.value.paths).find(([path]) =>
    path.endsWith('/replay'),
  )?.[1].post?.requestBody?.content?.['application/json']?.schema;
  const policy = follow(body)?.properties?.policy;
  const properties = follow(policy?.oneOf?.find((one) => one.$ref) ?? policy)?.properties;
  if (!properties || !all) return SETTINGS;
  return Object.entries(properties)
    .slice(0, SETTING_LIMIT)
    .map(([name, given]) => ({
      name,
      help: follow(given)?.description ?? given.oneOf?.find((one) => one.$ref)?.description,
    }));
}

export function WhatIf() {
  const [state, setState] = useState({});
  const abort = useRef(null);
  const { query } = route.value;
  const run = async (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    const point = (name) => {
      const text = form.get(name).trim();
      if (!text) return undefined;
      const parsed = parsePoint(text);
      if (!parsed)
        throw new Problem(422, {
          field: name,
          detail: `\`${text}\` is not a moment: write 03:02, 2026-11-22 03:02, 10 min, or #812`,
        });
      return parsed.seq ?? new Date(parsed.at).toISOString();
    };
    abort.current = new AbortController();
    const policy = {};
    for (const { name } of settings()) {
      const text = form.get(`policy.${name}`)?.trim();
      if (text) policy[name] = /^\d+(\.\d+)?$/.test(text) ? Number(text) : text;
    }
    try {
      const body = { from: point('from'), to: point('to'), policy };
      setState({ busy: true });
      const answer = await send('POST', '/replay', { body, signal: abort.current.signal });
      setState({ data: await answer.json() });
    } catch (problem) {
      if (problem.name === 'AbortError') setState({});
      else if (problem instanceof Problem) setState({ problem });
      else throw problem;
    }
  };
  const error = (name) =>
    state.problem?.field === name && html`<span class="error">${state.problem.message}</span>`;
  return html`
    <${Title} sub="Recorded history, folded again under another policy: the same failures, other decisions. Nothing is changed.">
      What-if
    <//>
    <section class="panel">
      <form class="form is-wide" onSubmit=${run}>
        <div class="field">
          <label for="whatif-from">From</label>
          <input
            id="whatif-from"
            name="from"
            placeholder="the beginning"
            defaultValue=${query.get('from') ?? ''}
          />
          <p class="help">${error('from') || 'A time, how long ago, or an event.'}</p>
        </div>
        <div class="field">
          <label for="whatif-to">To</label>
          <input
            id="whatif-to"
            name="to"
            placeholder="now"
            defaultValue=${query.get('to') ?? ''}
          />
          <p class="help">${error('to') || 'Empty: now.'}</p>
        </div>
        ${settings().map(
          ({ name, help }) => html`<div class="field" key=${name}>
            <label for=${`whatif-${name}`}>${name.replaceAll('_', ' ')}</label>
            ${
              name === 'strategy'
                ? html`<select id="whatif-strategy" name="policy.strategy">
                  <option value="">as it was</option>
                  ${STRATEGIES.map((one) => html`<option key=${one}>${one}</option>`)}
                </select>`
                : html`<input
                  id=${`whatif-${name}`}
                  name=${`policy.${name}`}
                  placeholder="as it was"
                />`
            }
            <p class="help">${error(`policy.${name}`) || html`<${Help} text=${help} />`}</p>
          </div>`,
        )}
        <div class="buttons">
          <button class="primary" disabled=${state.busy}>
            Replay
          </button>
          ${
            state.busy &&
            html`<button type="button" onClick=${() => abort.current.abort()}>
              Stop
            </button>`
          }
        </div>
      </form>
      <div aria-live="polite">
        ${state.busy && html`<${Busy}>Folding history twice …<//>`}
        ${state.problem && html`<${Failure} problem=${state.problem} what="what-if runs (replay)" />`}
      </div>
    </section>
    ${state.data && html`<${Result} data=${state.data} />`}
  `;
}

const FIGURES = [
  ['migrations', 'Migrations', number],
  ['launches', 'Launches', number],
  ['failed', 'Failed launches', number],
  ['down_seconds', 'Down, over all containers', (seconds) => span(seconds * 1000)],
];

function Result({ data }) {
  const { recorded, replayed, from, to: until } = data;
  const peak = (run) =>
    run.peak
      ?.map((one) => `${one.node} ${one.containers}`)
      .slice(0, 6)
      .join(', ') || '–';
  const line = (label, run, className) => ({
    label,
    className,
    steps: (run.imbalance ?? []).map(({ at, spread }) => [Date.parse(at), spread]),
  });
  return html`
    <section class="panel">
      <h2>Both runs</h2>
      <${Steps}
        label="Imbalance: most minus fewest containers per node"
        lines=${[
          line('recorded', recorded, 'is-recorded'),
          line('replayed', replayed, 'is-replayed'),
        ]}
        from=${Date.parse(from.at)}
        to=${Date.parse(until.at)}
        describe=${`Recorded: ${count(recorded.migrations, 'migration')}; replayed: ${count(replayed.migrations, 'migration')}.`}
      />
      <div class="table-box" tabindex="0" role="region" aria-label="Figures of both runs">
        <table class="plain">
          <thead>
            <tr>
              <th scope="col">Figure</th>
              <th scope="col" class="right">
                Recorded
              </th>
              <th scope="col" class="right">
                Under this policy
              </th>
            </tr>
          </thead>
          <tbody>
            ${FIGURES.map(
              ([key, label, show]) => html`<tr key=${key}>
                <th scope="row">${label}</th>
                <td class="right">${show(recorded[key])}</td>
                <td
                  class=${`right ${replayed[key] < recorded[key] ? 'is-good' : replayed[key] > recorded[key] ? 'is-bad' : ''}`}
                >
                  ${show(replayed[key])}
                </td>
              </tr>`,
            )}
            <tr>
              <th scope="row">Most at a time</th>
              <td class="right">${peak(recorded)}</td>
              <td class="right">${peak(replayed)}</td>
            </tr>
          </tbody>
        </table>
      </div>
      <h3>Policy</h3>
      <p>
        <code>
          ${Object.entries(data.policy)
            .map(
              ([name, value]) =>
                `${name} = ${typeof value === 'object' ? JSON.stringify(value) : value}`,
            )
            .join(', ')}
        </code>
      </p>
    </section>
    <section class="panel">
      <h2>${count(data.differences_count ?? data.differences.length, 'difference')}</h2>
      ${data.differences.length === 0 && html`<p class="faint">Both runs are the same.</p>`}
      <ol class="chain">
        ${data.differences.slice(0, 1000).map(
          (one, index) => html`<li key=${index} class="mark-moves">
            <span class="when">
              ${
                one.seq &&
                html`
                  <a href=${to(['events', one.seq])}>#${one.seq}</a>${' '}
                `
              }
              <time datetime=${one.at}>${clock(one.at)}</time>
            </span>
            <span class="what">${one.says}</span>
          </li>`,
        )}
      </ol>
    </section>
  `;
}
