// Environment variables. Values that look like secrets are shown on demand only.
// @ts-check

import { html, useState } from '../html.js';
import { MASK, isSecret, variables } from '../pure/variables.js';

/** @param {{text: string}} props  `text`: as rows have it */
export function Environment({ text }) {
  const [open, setOpen] = useState(/** @type {Record<string, boolean>} */ ({}));
  const all = variables(text);
  if (!all.length) return html`<p class="faint">None</p>`;
  return html`<table class="plain">
    <thead class="sr-only">
      <tr>
        <th scope="col">Variable</th>
        <th scope="col">Value</th>
      </tr>
    </thead>
    <tbody>
      ${all.map(([name, value]) => {
        const hidden = isSecret(name) && !open[name];
        const toggle = () => setOpen({ ...open, [name]: hidden });
        return html`<tr key=${name}>
          <th scope="row"><code>${name}</code></th>
          <td>
            <code>${hidden ? MASK : value}</code>
            ${isSecret(name) && html`<${Toggle} name=${name} hidden=${hidden} toggle=${toggle} />`}
          </td>
        </tr>`;
      })}
    </tbody>
  </table>`;
}

/** @param {{name: string, hidden: boolean, toggle: () => void}} props */
function Toggle({ name, hidden, toggle }) {
  const verb = hidden ? 'Show' : 'Hide';
  return html`
    ${' '}
    <button
      type="button"
      class="small"
      aria-expanded=${!hidden}
      aria-label=${`${verb} ${name}`}
      onClick=${toggle}
    >
      ${verb}
    </button>
  `;
}
