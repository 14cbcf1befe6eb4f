// Small parts that every view uses.

import { html, signal, useEffect, useState } from '../html.js';
import { Problem } from '../api.js';
import { past, shown } from '../time.js';
import { to } from '../router.js';
import { ago, moment, nameOf } from '../words.js';

/** Ticks once a second, for relative times. */
export const tick = signal(Date.now());
setInterval(() => (tick.value = Date.now()), 1000);

/** A status or a state: never by its colour alone. */
export function Status({ value }) {
  return html`<span class=${`status is-${String(value).toLowerCase()}`}>
    <i aria-hidden="true"></i>
    ${value}
  </span>`;
}

/** How long ago, seen from the moment that is shown; the exact time is its title. */
export function Ago({ at }) {
  const from = past.value ? past.value.at : tick.value;
  return html`<time datetime=${new Date(at).toISOString()} title=${moment(at)}>
    ${ago(at, from)}
  </time>`;
}

/** A link to a thing, by its name. */
export function Thing({ kind, id }) {
  if (!id) return html`<span class="faint">–</span>`;
  const row = shown.value[kind].get(id);
  const name = row?.name ?? nameOf(shown.value, kind, id);
  return html`<a href=${to([kind, row ? name : id])}>${name}</a>`;
}

/** Something is on its way. */
export function Busy({ children }) {
  return html`<p class="busy" role="status">
    <span class="spinner" aria-hidden="true"></span>
    ${children}
  </p>`;
}

/** Why something is not there. */
export function Failure({ problem, what }) {
  if (!problem) return null;
  if (problem.isMissingRoute) {
    return html`<p class="note">
      This daemon does not offer ${what} yet: its version of the API has no such route.
    </p>`;
  }
  return html`<div class="note is-bad" role="alert">
    <p>${problem.message}</p>
    ${
      problem.reasons?.length > 0 &&
      html`<ul>
        ${problem.reasons.map(
          ({ node, reason }) => html`<li>
            <b>${node}</b> ${reason}
          </li>`,
        )}
      </ul>`
    }
    ${problem.requestId && html`<p class="faint">Request ${problem.requestId}</p>`}
  </div>`;
}

/** Loads something, again when `keys` change: {data, problem, busy}. What was loaded stays until the next is there. */
export function useLoad(load, keys) {
  const [state, set] = useState({ data: null, problem: null, busy: true });
  useEffect(() => {
    const abort = new AbortController();
    set((before) => ({ ...before, busy: true }));
    load(abort.signal).then(
      (data) => !abort.signal.aborted && set({ data, problem: null, busy: false }),
      (problem) => {
        if (abort.signal.aborted) return;
        if (!(problem instanceof Problem)) throw problem;
        set({ data: null, problem, busy: false });
      },
    );
    return () => abort.abort();
  }, keys);
  return state;
}

/** A value that settles: the newest one, once it has not changed for a while. */
export function useSettled(value, ms = 300) {
  const [settled, set] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => set(value), ms);
    return () => clearTimeout(timer);
  }, [value, ms]);
  return settled;
}

/** A list of names and values. */
export function Facts({ children }) {
  return html`<dl class="facts">${children}</dl>`;
}
export function Fact({ name, children }) {
  return html`<div>
    <dt>${name}</dt>
    <dd>${children}</dd>
  </div>`;
}

/** The head of a page: its title takes the focus when one arrives, so that a screen reader says where one is. */
export function Title({ children, sub, actions }) {
  return html`<header class="title">
    <div>
      <h1 tabindex="-1" id="title">
        ${children}
      </h1>
      ${sub && html`<p class="sub">${sub}</p>`}
    </div>
    ${actions && html`<div class="actions">${actions}</div>`}
  </header>`;
}
