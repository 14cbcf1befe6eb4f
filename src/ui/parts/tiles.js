// Containers as tiles with their names, in a flowing list.
// @ts-check

/** @import { ContainerRow } from '../types.js' */

import { html } from '../html.js';
import { to } from '../router.js';

/**
 * @param {{
 *   rows: ContainerRow[],
 *   most: number,
 *   className: string,
 *   more: (left: number) => unknown,
 * }} props  `most`: how many tiles are shown; `more`: what stands for the others
 */
export function Tiles({ rows, most, className, more }) {
  return html`<ul class=${`tiles is-names ${className}`}>
    ${rows.slice(0, most).map((row) => html`<${Tile} key=${row.id} row=${row} />`)}
    ${rows.length > most && html`<li>${more(rows.length - most)}</li>`}
  </ul>`;
}

/** @param {{row: ContainerRow}} props */
function Tile({ row }) {
  return html`<li>
    <a
      class=${`tile is-${row.status.toLowerCase()}`}
      href=${to(['containers', row.name])}
      title=${row.reason}
    >
      <i aria-hidden="true"></i>
      <span class="name">${row.name}</span>
      <span class="word">${row.status}</span>
    </a>
  </li>`;
}

/** How many tiles a page of a node or an application shows. */
const MOST = 500;

/**
 * The containers of a node or an application.
 * @param {{rows: ContainerRow[]}} props
 */
export function ContainerTiles({ rows }) {
  if (!rows.length) return html`<p class="faint">No containers</p>`;
  /** @param {number} left */
  const more = (left) => html`<span class="faint">and ${left} more</span>`;
  return html`<${Tiles} rows=${rows} most=${MOST} className="is-flow" more=${more} />`;
}
