// Keyboard shortcuts, and the dialog that lists them.
// @ts-check

import { html, signal, useEffect, useRef } from './html.js';
import { go } from './router.js';
import { now, past, play, speed, step, stop } from './time.js';

const open = signal(false);
/** Single keys can get in the way of speech input: they can be turned off. */
const enabled = signal(localStorage.getItem('kdaemon.keys') !== 'off');

/** @type {[string, string, () => unknown][]} */
const KEYS = [
  ['n', 'Back to now', () => past.peek() && now()],
  ['p', 'Play or pause the past', () => (speed.peek() ? stop() : play(10))],
  ['[', 'One event back', () => step(-1)],
  [']', 'One event forward', () => step(1)],
  ['/', 'Search in this view', () => document.getElementById('search')?.focus()],
  ['c', 'Cluster', () => go([])],
  ['1', 'Nodes', () => go(['nodes'])],
  ['2', 'Applications', () => go(['applications'])],
  ['3', 'Containers', () => go(['containers'])],
  ['e', 'Events', () => go(['events'])],
  ['w', 'What-if', () => go(['whatif'])],
  ['?', 'Show these shortcuts', () => (open.value = true)],
];
const TYPING = 'input, textarea, select, dialog, [contenteditable]';

export function keyboard() {
  addEventListener('keydown', (event) => {
    if (!enabled.peek() || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target instanceof Element && event.target.closest(TYPING)) return;
    const key = KEYS.find(([name]) => name === event.key);
    if (key) {
      event.preventDefault();
      key[2]();
    }
  });
}

export function Help() {
  return html`
    <button type="button" onClick=${() => (open.value = true)} aria-haspopup="dialog">
      Shortcuts
    </button>
    ${open.value && html`<${Keys} />`}
  `;
}

function Keys() {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => dialog.current?.showModal(), []);
  /** @param {{currentTarget: HTMLInputElement}} event */
  const choose = ({ currentTarget: { checked } }) => {
    enabled.value = checked;
    localStorage.setItem('kdaemon.keys', checked ? 'on' : 'off');
  };
  return html`<dialog
    ref=${dialog}
    class="dialog"
    aria-labelledby="keys-title"
    onClose=${() => (open.value = false)}
  >
    <h2 id="keys-title">Keyboard shortcuts</h2>
    <dl class="keys">
      ${KEYS.map(
        ([key, label]) => html`<div key=${key}>
          <dt><kbd>${key}</kbd></dt>
          <dd>${label}</dd>
        </div>`,
      )}
      <div>
        <dt><kbd>←</kbd>${' '}<kbd>→</kbd></dt>
        <dd>On the time line: event by event. In the cluster: from tile to tile</dd>
      </div>
    </dl>
    <label class="check">
      <input type="checkbox" checked=${enabled.value} onChange=${choose} />
      ${' '}Enable keyboard shortcuts
    </label>
    <div class="dialog-buttons">
      <button type="button" class="primary" onClick=${() => dialog.current?.close()}>Close</button>
    </div>
  </dialog>`;
}
