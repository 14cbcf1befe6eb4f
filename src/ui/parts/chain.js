// A list of events: when each happened, and what it says.
// @ts-check

import { html } from '../html.js';
import { clock, moment } from '../pure/format.js';
import { to } from '../router.js';

/**
 * @typedef {{
 *   seq?: number | null,
 *   at: string,
 *   group: string,
 *   says: string,
 *   note?: unknown,
 *   children?: unknown,
 * }} Item  `group`: its lane on the time line; `note`: less important text after the sentence
 */

/** @param {{items: Item[], millis?: boolean}} props */
export function Chain({ items, millis = true }) {
  return html`<ol class="chain">
    ${items.map(
      ({ seq, at, group, says, note, children }, index) => html`<li
        key=${seq ?? index}
        class=${`mark-${group}`}
      >
        <span class="when">
          ${seq && html`<a href=${to(['events', String(seq)])}>#${seq}</a> `}
          <time datetime=${at} title=${moment(at)}>${clock(at, millis)}</time>
        </span>
        <span class="what">
          ${says}${note && html`<span class="faint"> ${note}</span>`}${children}
        </span>
      </li>`,
    )}
  </ol>`;
}
