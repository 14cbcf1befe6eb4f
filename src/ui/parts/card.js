// A node as a card, with its containers as tiles.
// @ts-check

/** @import { ContainerRow } from '../types.js' */
/** @import { World } from '../world.js' */

import { html, useLayoutEffect, useRef } from '../html.js';
import { listed, live } from '../live.js';
import { count } from '../pure/format.js';
import { byName } from '../pure/sorting.js';
import { carried, to } from '../router.js';
import { Status } from './bits.js';
import { Pulled } from './launching.js';

/**
 * `names` shows a line for each container, `tiles` a small square.
 * @typedef {'names' | 'tiles'} Level
 */

/**
 * Whether a world has its containers, and not only how many each node has.
 * @param {World} world
 */
export const areListed = (world) => world !== live || listed.containers.value;

/**
 * `true` if a container needs an operator's attention.
 * @param {ContainerRow} row
 */
export const isTrouble = ({ status }) => status === 'FAILED' || status === 'LOST';

/**
 * @typedef {{
 *   id: string,
 *   world: World,
 *   level: Level,
 *   slots: number,
 *   style: Record<string, string>,
 *   cards: Map<string, Element>,
 *   forget: (id: string) => void,
 * }} Props  `slots`: how many tiles fit; `cards`: where the card registers its element; `forget`:
 * called
 *   when it goes
 */

/** @param {Props} props */
export function Card({ id, world, level, slots, style, cards, forget }) {
  world.card(id).value;
  const element = useRef(/** @type {HTMLElement | null} */ (null));
  useLayoutEffect(() => {
    if (element.current) cards.set(id, element.current);
    return () => {
      cards.delete(id);
      forget(id);
    };
  }, [id]);
  const node = world.nodes.get(id);
  if (!node) return null;
  const rows = [...(world.byNode.get(id)?.values() ?? [])].sort(byName);
  const many = areListed(world) ? rows.length : node.container_count;
  const fits = rows.length <= slots ? rows.length : slots - 1;
  const trouble = rows.filter(isTrouble).length;
  return html`<article
    ref=${element}
    class=${`card node-${node.state.toLowerCase()} ${node.availability}`}
    style=${style}
    aria-label=${`Node ${node.name}`}
  >
    <h2>
      <a
        class="card-head"
        href=${to(['nodes', node.name])}
        title=${node.reason ?? node.endpoint}
      >
        <span class="name">${node.name}</span>
        ${node.availability !== 'active' && html`<span class="tag">${node.availability}</span>`}
        <${Status} value=${node.state} />
        <span class="many" aria-label=${count(many, 'container')}>
          ${many}${node.capacity ? `/${node.capacity}` : ''}
        </span>
      </a>
    </h2>
    <ul class="tiles">
      ${rows.slice(0, fits).map((row) => tile(row, level))}
      ${
        fits < rows.length &&
        html`<li class="more">
          <a tabindex="-1" href=${to(['containers'], { node: id })}>
            +${rows.length - fits}${level === 'names' ? ' more' : ''}
          </a>
        </li>`
      }
    </ul>
    ${trouble > 0 && html`<span class="sr-only">${trouble} in trouble</span>`}
  </article>`;
}

/** @type {WeakMap<ContainerRow, unknown>} */
let tiles = new WeakMap();
let madeAt = '';

/**
 * A container in its card. It is made once for each version of its row: Preact skips what is the
 * same element as
 * before.
 * @param {ContainerRow} row
 * @param {Level} level
 */
function tile(row, level) {
  const moment = `${level} ${carried.peek()}`;
  if (madeAt !== moment) [tiles, madeAt] = [new WeakMap(), moment];
  let made = tiles.get(row);
  if (!made) {
    made = level === 'names' ? line(row) : square(row);
    tiles.set(row, made);
  }
  return made;
}

/** @param {ContainerRow} row */
const describe = (row) => `${row.name}, ${row.status}${row.reason ? `: ${row.reason}` : ''}`;

/**
 * A square is its link and nothing else: there are thousands of them.
 * @param {ContainerRow} row
 */
function square(row) {
  const text = describe(row);
  return html`<li key=${row.id}>
    <a
      tabindex="-1"
      class=${`tile square is-${row.status.toLowerCase()}`}
      href=${to(['containers', row.name])}
      title=${text}
      aria-label=${text}
      data-id=${row.id}
    ></a>
  </li>`;
}

/** @param {ContainerRow} row */
function line(row) {
  return html`<li key=${row.id}>
    <a
      tabindex="-1"
      class=${`tile is-${row.status.toLowerCase()}`}
      href=${to(['containers', row.name])}
      title=${describe(row)}
      data-id=${row.id}
    >
      <i aria-hidden="true"></i>
      <span class="name">${row.name}</span>
      <span class=${row.status === 'UP' ? 'sr-only' : 'word'}>
        ${row.status}${row.status === 'LAUNCHING' && html`<${Pulled} row=${row} />`}
      </span>
    </a>
  </li>`;
}
