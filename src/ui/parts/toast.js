// Short messages: what was done, what went wrong elsewhere.

import { html, signal } from '../html.js';

const toasts = signal([]);
let next = 0;
const STAY_MS = 6000;

export function toast(text, bad = false) {
  const id = next++;
  toasts.value = [...toasts.value.slice(-3), { id, text, bad }];
  setTimeout(
    () => (toasts.value = toasts.value.filter((one) => one.id !== id)),
    bad ? STAY_MS * 2 : STAY_MS,
  );
}

export function Toasts() {
  return html`<div class="toasts" role="status" aria-live="polite">
    ${toasts.value.map(
      ({ id, text, bad }) => html`<p key=${id} class=${bad ? 'is-bad' : ''}>
        ${text}
      </p>`,
    )}
  </div>`;
}
