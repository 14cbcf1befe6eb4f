// Nodes as cards in rows; only the visible cards are in the page.
// @ts-check

/** @import { NodeRow } from '../types.js' */
/** @import { World } from '../world.js' */
/** @import { Level } from './card.js' */

import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from '../html.js';
import { live } from '../live.js';
import { shown } from '../time.js';
import { walk } from './arrows.js';
import { Card } from './card.js';
import { fly, land } from './flights.js';
import { useChanged } from './hooks.js';

/**
 * Sizes in rem: the least width of a card, the height of its head, and the size of a tile. `rows`:
 * the
 * least and the greatest number of rows of tiles.
 * @type {Record<Level, {width: number, head: number, row: number, rows: [number, number]}>}
 */
const SIZES = {
  names: { width: 14.5, head: 2.6, row: 1.55, rows: [2, 12] },
  tiles: { width: 10.5, head: 2.6, row: 1.1, rows: [1, 6] },
};
const GAP = 0.75;
const PADDING = 0.6;
/** The visible part is updated in steps of this many pixels. */
const STEP_PX = 150;

/** @param {{level: Level, nodes: NodeRow[]}} props */
export function Grid({ level, nodes }) {
  const world = shown.value;
  const size = SIZES[level];
  const [box, sight] = useSight();
  const cards = useRef(/** @type {Map<string, Element>} */ (new Map()));
  /** @typedef {{place: string, world: World, card: unknown}} Made */
  const made = useRef(/** @type {Map<string, Made>} */ (new Map()));
  const forget = useRef((/** @type {string} */ id) => made.current.delete(id));
  const stamp = useChanged(() => shown.value.changed.nodes.value, 1000);

  useEffect(() => {
    live.onMove = (row, from, to) => fly(row.name, cards.current.get(from), cards.current.get(to));
    return () => {
      live.onMove = null;
      land();
    };
  }, []);

  const { rem } = sight;
  const columns = Math.max(1, Math.floor((sight.width + GAP * rem) / ((size.width + GAP) * rem)));
  const width = (sight.width - (columns - 1) * GAP * rem) / columns;
  const inside = Math.floor((width - 2 * PADDING * rem) / (size.row * rem));
  const perRow = level === 'names' ? 1 : Math.max(1, inside);
  // Cards are as high as the fullest node needs, in steps, so that they do not jump with each
  // container.
  const rows = useMemo(() => {
    let most = 1;
    for (const node of world.nodes.values()) most = Math.max(most, node.container_count);
    const needed = Math.ceil(most / perRow);
    return Math.min(size.rows[1], Math.max(size.rows[0], needed + (needed % 2)));
  }, [world, stamp, perRow]);
  const height = (size.head + rows * size.row + 2 * PADDING) * rem;
  const pitch = height + GAP * rem;
  const total = Math.ceil(nodes.length / columns);
  const first = Math.max(0, Math.floor(sight.from / pitch)) * columns;
  const end = Math.max(1, Math.ceil(sight.until / pitch)) * columns;
  const slots = rows * perRow;

  /**
   * The card of a node. The same element as before is skipped by Preact: scrolling makes the cards
   * that become
   * visible, and no others.
   * @param {NodeRow} node
   * @param {number} at its index
   */
  const card = (node, at) => {
    const place = `${level} ${slots} ${at} ${columns} ${width} ${height}`;
    const before = made.current.get(node.id);
    if (before?.place === place && before.world === world) return before.card;
    const style = {
      left: `${(at % columns) * (width + GAP * rem)}px`,
      top: `${Math.floor(at / columns) * pitch}px`,
      width: `${width}px`,
      height: `${height}px`,
    };
    const card = html`<${Card}
      key=${node.id}
      id=${node.id}
      world=${world}
      level=${level}
      slots=${slots}
      style=${style}
      cards=${cards.current}
      forget=${forget.current}
    />`;
    made.current.set(node.id, { place, world, card });
    return card;
  };
  const visible = sight.width > 0 ? nodes.slice(first, end) : [];
  return html`<section
    ref=${box}
    class=${`grid is-${level}`}
    aria-label="Nodes and their containers"
    style=${{ height: `${total * pitch}px` }}
    onKeyDown=${walk}
  >
    ${visible.map((node, index) => card(node, first + index))}
  </section>`;
}

/**
 * The part of an element that is visible, and a little more, in pixels from its top; `rem` in
 * pixels.
 * @typedef {{width: number, from: number, until: number, rem: number}} Sight
 * @returns {[{current: HTMLElement | null}, Sight]}
 */
function useSight() {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const [sight, setSight] = useState({ width: 0, from: 0, until: 2000, rem: 16 });
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const look = () => {
      const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
      const top = -element.getBoundingClientRect().top;
      const from = top - innerHeight / 4;
      const next = { width: element.clientWidth, from, until: top + innerHeight * 1.25, rem };
      setSight((before) => {
        const isSame = before.width === next.width && before.rem === rem;
        return isSame && Math.abs(before.from - from) < STEP_PX ? before : next;
      });
    };
    look();
    const observer = new ResizeObserver(look);
    observer.observe(element);
    addEventListener('scroll', look, { passive: true });
    return () => {
      observer.disconnect();
      removeEventListener('scroll', look);
    };
  }, []);
  return [box, sight];
}
