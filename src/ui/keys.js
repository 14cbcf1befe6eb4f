// Keys that work everywhere, and the page that names them.

import { html, signal, useEffect, useRef } from './html.js';
import { go } from './router.js';
import { now, past, play, speed, step, stop } from './time.js';

const open = signal(false);
/** Single keys can get in the way of speech input: they can be turned off. */
const enabled = signal(localStorage.getItem('kdaemon.keys') !== 'off');

const KEYS = [
  ['n', 'Back to now', () => past.peek() && now()],
  ['p', 'Play or pause the past', () => (speed.peek() ? stop() : play(10))],
  ['[', 'One event back in time', () => step(-1)],
  [']', 'One event forward in time', () => step(1)],
  ['/', 'Search in this view', () => document.getElementById('search')?.focus()],
  ['c', 'Cluster', () => go([])],
  ['1', 'Nodes', () => go(['nodes'])],
  ['2', 'Applications', () => go(['applications'])],
  ['3', 'Containers', () => go(['containers'])],
  ['e', 'Events', () => go(['events'])],
  ['w', 'What-if', () => go(['whatif'])],
  ['?', 'These keys', () => (open.value = true)],
];

export function keyboard() {
  addEventListener('keydown', (event) => {
    if (!enabled.peek() || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest('input, textarea, select, dialog, [contenteditable]')) return;
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
      Keys
    </button>
    ${open.value && html`<${Keys} />`}
  `;
}

function Keys() {
  const dialog = useRef();
  useEffect(() => dialog.current.showModal(), []);
  return html`<dialog
    ref=${dialog}
    class="dialog"
    aria-labelledby="keys-title"
    onClose=${() => (open.value = false)}
  >
    <h2 id="keys-title">Keys</h2>
    <dl class="keys">
      ${KEYS.map(
        ([key, label]) => html`<div key=${key}>
          <dt>
            <kbd>${key}</kbd>
          </dt>
          <dd>${label}</dd>
        </div>`,
      )}
      <div>
        <dt>
          <kbd>←</kbd> <kbd>→</kbd>
        </dt>
        <dd>On the time line: event by event. In the cluster: from tile to tile</dd>
      </div>
    </dl>
    <label class="check">
      <input
        type="checkbox"
        checked=${enabled.value}
        onChange=${(event) => {
          enabled.value = event.target.checked;
          localStorage.setItem('kdaemon.keys', event.target.checked ? 'on' : 'off');
        }}
      />${' '}
      Single keys do something
    </label>
    <div class="dialog-buttons">
      <button type="button" class="primary" onClick=${() => dialog.current.close()}>
        Close
      </button>
    </div>
  </dialog>`;
}
