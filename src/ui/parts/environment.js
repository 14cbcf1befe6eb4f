// Environment variables; the values of those that look like secrets are shown on demand alone.

import { html, useState } from '../html.js';
import { MASK, isSecret, variables } from '../words.js';

export function Environment({ text }) {
  const [open, setOpen] = useState({});
  const all = variables(text);
  if (!all.length) return html`<p class="faint">None.</p>`;
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
        return html`<tr key=${name}>
          <th scope="row">
            <code>${name}</code>
          </th>
          <td>
            <code>${hidden ? MASK : value}</code>
            ${
              isSecret(name) &&
              html`
                ${' '}
                <button
                  type="button"
                  class="small"
                  aria-expanded=${!hidden}
                  aria-label=${`${hidden ? 'Show' : 'Hide'} ${name}`}
                  onClick=${() => setOpen({ ...open, [name]: hidden })}
                >
                  ${hidden ? 'Show' : 'Hide'}
                </button>
              `
            }
          </td>
        </tr>`;
      })}
    </tbody>
  </table>`;
}
