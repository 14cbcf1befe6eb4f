// Small parts that every view uses.
// @ts-check

/** @import { Event, Kind } from '../types.js' */
/** @import { Problem } from '../api.js' */

import { ahead } from '../clock.js';
import { html, signal } from '../html.js';
import { nameOf } from '../names.js';
import { subjectsOf } from '../pure/events.js';
import { ago, moment } from '../pure/format.js';
import { to } from '../router.js';
import { past, shown } from '../time.js';

/** Ticks once a second, for relative times. */
const tick = signal(Date.now());
setInterval(() => (tick.value = Date.now()), 1000);

/**
 * A status or a state: never by its colour alone.
 * @param {{value: string}} props
 */
export function Status({ value }) {
  return html`<span class=${`status is-${value.toLowerCase()}`}>
    <i aria-hidden="true"></i>
    ${value}
  </span>`;
}

/**
 * How long ago, as seen from the moment that is shown; the exact time is its title.
 * @param {{at: string}} props
 */
export function Ago({ at }) {
  const from = past.value ? past.value.at : tick.value + ahead.value;
  return html`<time datetime=${new Date(at).toISOString()} title=${moment(at)}>
    ${ago(at, from)}
  </time>`;
}

/**
 * A link to a thing, by its name.
 * @param {{kind: Kind, id: string | null | undefined}} props
 */
export function Thing({ kind, id }) {
  if (!id) return html`<span class="faint">–</span>`;
  const row = shown.value[kind].get(id);
  const name = row?.name ?? nameOf(shown.value, kind, id);
  return html`<a href=${to([kind, row ? name : id])}>${name}</a>`;
}

/**
 * What an event is about, as links.
 * @param {{event: Event}} props
 */
export function Subjects({ event }) {
  return subjectsOf(event).map(
    ([kind, id], index) => html`
      ${index > 0 && ', '}
      <${Thing} key=${id} kind=${kind} id=${id} />
    `,
  );
}

/**
 * Something is being loaded.
 * @param {{children?: unknown}} props
 */
export function Busy({ children }) {
  return html`<p class="busy" role="status">
    <span class="spinner" aria-hidden="true"></span>
    ${children}
  </p>`;
}

/**
 * Why something is not there. `what` names it, for a daemon that does not have it.
 * @param {{problem: Problem | null, what: string}} props
 */
export function Failure({ problem, what }) {
  if (!problem) return null;
  if (problem.isMissingRoute) {
    return html`<p class="note">This version of the daemon does not offer ${what}.</p>`;
  }
  const reasons = problem.reasons.map(
    ({ node, reason }) => html`<li key=${node}><b>${node}</b> ${reason}</li>`,
  );
  return html`<div class="note is-bad" role="alert">
    <p>${problem.message}</p>
    ${reasons.length > 0 && html`<ul>${reasons}</ul>`}
    ${problem.requestId && html`<p class="faint">Request ${problem.requestId}</p>`}
  </div>`;
}

/** Why nothing can be changed now. */
export function ReadOnly() {
  const text = past.value
    ? 'The past is read-only. Go back to now to make changes.'
    : 'Not connected: changes are possible once the daemon answers.';
  return html`<p class="note">${text}</p>`;
}

/**
 * A list of names and values.
 * @param {{children?: unknown}} props
 */
export function Facts({ children }) {
  return html`<dl class="facts">${children}</dl>`;
}

/** @param {{name: string, children?: unknown}} props */
export function Fact({ name, children }) {
  return html`<div>
    <dt>${name}</dt>
    <dd>${children}</dd>
  </div>`;
}

/**
 * The head of a page. Its title takes the focus when the page opens, so that a screen reader
 * announces it.
 * @param {{children?: unknown, sub?: unknown, actions?: unknown}} props
 */
export function Title({ children, sub, actions }) {
  return html`<header class="title">
    <div>
      <h1 tabindex="-1" id="title">${children}</h1>
      ${sub && html`<p class="sub">${sub}</p>`}
    </div>
    ${actions && html`<div class="actions">${actions}</div>`}
  </header>`;
}
