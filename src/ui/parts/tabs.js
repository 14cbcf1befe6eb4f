// The views of one thing; the address says which one is open.
// @ts-check

import { html } from '../html.js';
import { route, to } from '../router.js';

/**
 * Labels and contents by name. The one with the empty name is open at first.
 * @param {{tabs: Record<string, [string, () => unknown]>}} props
 */
export function Tabs({ tabs }) {
  const { parts, query } = route.value;
  const wanted = query.get('view') ?? '';
  const open = tabs[wanted] ? wanted : '';
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
