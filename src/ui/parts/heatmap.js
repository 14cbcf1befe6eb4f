// The heat map: one cell for each node, drawn on a canvas, so that a thousand nodes fit on one
// screen.
// @ts-check

/** @import { NodeRow } from '../types.js' */

import { effect, html, useEffect, useRef, useState } from '../html.js';
import { count } from '../pure/format.js';
import { go } from '../router.js';
import { theme } from '../theme.js';
import { shown } from '../time.js';
import { isTrouble } from './card.js';
import { LARGEST, paint } from './heatmap-paint.js';

const DRAW_MS = 250;

/** @param {{nodes: NodeRow[]}} props */
export function HeatMap({ nodes }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const list = useRef(nodes);
  list.current = nodes;
  const grid = useRef({ columns: 1, cell: LARGEST });
  const [current, setCurrent] = useState(-1);
  const [hover, setHover] = useState(
    /** @type {{index: number, x: number, y: number} | null} */ (null),
  );

  const draw = () => {
    if (canvas.current) grid.current = paint(canvas.current, list.current, shown.peek());
  };
  useEffect(() => {
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let waiting;
    const soon = () => {
      waiting ??= setTimeout(() => {
        waiting = undefined;
        draw();
      }, DRAW_MS);
    };
    const disposes = [
      effect(() => {
        const { changed } = shown.value;
        changed.containers.value;
        changed.nodes.value;
        soon();
      }),
      effect(() => {
        theme.value;
        requestAnimationFrame(draw);
      }),
    ];
    const observer = new ResizeObserver(draw);
    if (canvas.current?.parentElement) observer.observe(canvas.current.parentElement);
    return () => {
      disposes.forEach((dispose) => dispose());
      observer.disconnect();
      clearTimeout(waiting);
    };
  }, []);
  useEffect(draw, [nodes]);

  /**
   * The index of the node under the pointer; -1 outside of all cells.
   * @param {PointerEvent} event
   */
  const under = (event) => {
    const box = /** @type {HTMLCanvasElement} */ (canvas.current).getBoundingClientRect();
    const { columns, cell } = grid.current;
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const index = Math.floor(y / cell) * columns + Math.floor(x / cell);
    return x < columns * cell && index < nodes.length ? index : -1;
  };
  /** @param {PointerEvent} event */
  const point = (event) => {
    const index = under(event);
    setHover(index < 0 ? null : { index, x: event.offsetX, y: event.offsetY });
  };
  /** @param {number} index */
  const open = (index) => nodes[index] && go(['nodes', nodes[index].name]);
  /** @param {KeyboardEvent} event */
  const keys = (event) => {
    const by = stepOf(event.key, grid.current.columns, nodes.length);
    if (by) {
      event.preventDefault();
      setCurrent(Math.min(nodes.length - 1, Math.max(0, Math.max(0, current) + by)));
    } else if (event.key === 'Enter') {
      open(current);
    }
  };
  const { columns, cell } = grid.current;
  const at = Math.max(0, current);
  const spot = {
    left: `${(at % columns) * cell}px`,
    top: `${Math.floor(at / columns) * cell}px`,
    width: `${cell - 2}px`,
    height: `${cell - 2}px`,
  };
  return html`<section class="heat" aria-label="Heat map">
    <div
      class="heat-box"
      role="listbox"
      tabindex="0"
      aria-label="Nodes; use the arrow keys to move between them"
      aria-activedescendant=${current >= 0 ? 'heat-current' : undefined}
      onKeyDown=${keys}
      onFocus=${() => current < 0 && setCurrent(0)}
    >
      <canvas
        ref=${canvas}
        aria-hidden="true"
        onPointerMove=${point}
        onPointerLeave=${() => setHover(null)}
        onClick=${(/** @type {PointerEvent} */ event) => open(under(event))}
      ></canvas>
      <div
        id="heat-current"
        role="option"
        class="heat-spot"
        aria-selected="true"
        aria-setsize=${nodes.length}
        aria-posinset=${at + 1}
        aria-label=${describe(nodes[at])}
        style=${spot}
      ></div>
      ${
        hover &&
        html`<span
          class="hover"
          aria-hidden="true"
          style=${{ left: `${hover.x + 12}px`, top: `${hover.y + 12}px` }}
        >
          ${describe(nodes[hover.index])}
        </span>`
      }
    </div>
    <p class="heat-legend">
      <span><i class="heat-low"></i>few</span>
      <span><i class="heat-high"></i>many containers</span>
      <span><i class="heat-down"></i>node DOWN</span>
      <span><i class="heat-trouble"></i>containers in trouble</span>
      <span><i class="heat-cordoned"></i>cordoned or draining</span>
    </p>
  </section>`;
}

/**
 * How many nodes a key moves by; undefined for other keys.
 * @param {string} key
 * @param {number} columns
 * @param {number} all
 */
function stepOf(key, columns, all) {
  /** @type {Record<string, number>} */
  const steps = {
    ArrowLeft: -1,
    ArrowRight: 1,
    ArrowUp: -columns,
    ArrowDown: columns,
    Home: -all,
    End: all,
  };
  return steps[key];
}

/** @param {NodeRow | undefined} given */
function describe(given) {
  const world = shown.peek();
  const node = given && world.nodes.get(given.id);
  if (!node) return '';
  const bad = [...(world.byNode.get(node.id)?.values() ?? [])].filter(isTrouble).length;
  const parts = [node.name, node.state];
  if (node.availability !== 'active') parts.push(node.availability);
  parts.push(count(node.container_count, 'container'));
  if (bad) parts.push(`${bad} in trouble`);
  return parts.join(', ');
}
