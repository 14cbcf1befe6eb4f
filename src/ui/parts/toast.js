// Short messages: what was done, and what went wrong elsewhere.
// @ts-check

import { html, signal } from '../html.js';

/** @typedef {{id: number, text: string, bad: boolean}} Toast */

const toasts = signal(/** @type {Toast[]} */ ([]));
let next = 0;
const STAY_MS = 6000;
const MOST = 4;

/** @param {string} text */
export function toast(text, bad = false) {
  const id = next++;
  toasts.value = [...toasts.value.slice(1 - MOST), { id, text, bad }];
  const remove = () => (toasts.value = toasts.value.filter((one) => one.id !== id));
  setTimeout(remove, bad ? STAY_MS * 2 : STAY_MS);
}

export function Toasts() {
  return html`<div class="toasts" role="status" aria-live="polite">
    ${toasts.value.map(
      ({ id, text, bad }) => html`<p key=${id} class=${bad ? 'is-bad' : ''}>${text}</p>`,
    )}
  </div>`;
}
