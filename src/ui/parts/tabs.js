// Views of one thing beside each other; which one is open stands in the address.

import { html } from '../html.js';
import { route, to } from '../router.js';

/** @param {{tabs: Record<string, [string, () => any]>}} given  The one with the empty name is open at first. */
export function Tabs({ tabs }) {
  const { parts, query } = route.value;
  const open = tabs[query.get('view') ?? ''] ? (query.get('view') ?? '') : '';
  return html`
    <nav class="tabs" aria-label="Parts of this page">
      ${Object.entries(tabs).map(
        ([name, [label]]) => html`<a
          key=${name}
          href=${to(parts, { view: name })}
          aria-current=${name === open ? 'page' : undefined}
        >
          ${label}
        </a>`,
      )}
    </nav>
    <div key=${open}>${tabs[open][1]()}</div>
  `;
}
