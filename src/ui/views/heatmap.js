// The heat map: one cell for each node, drawn, so that a thousand nodes fit on one screen.

import { effect, html, useEffect, useRef, useState } from '../html.js';
import { go } from '../router.js';
import { shown } from '../time.js';
import { theme } from '../theme.js';
import { count } from '../words.js';

const DRAW_MS = 250;
const MOST = 44;
const LEAST = 10;

export function HeatMap({ nodes }) {
  const canvas = useRef();
  const list = useRef(nodes);
  list.current = nodes;
  const grid = useRef({ columns: 1, cell: MOST });
  const [current, setCurrent] = useState(-1);
  const [hover, setHover] = useState(null);

  useEffect(() => {
    const draw = () => canvas.current && (grid.current = paint(canvas.current, list.current));
    let waiting = null;
    const soon = () =>
      (waiting ??= setTimeout(() => {
        waiting = null;
        draw();
      }, DRAW_MS));
    const disposes = [
      effect(() => {
        const world = shown.value;
        world.changed.containers.value;
        world.changed.nodes.value;
        soon();
      }),
      effect(() => {
        theme.value;
        requestAnimationFrame(draw);
      }),
    ];
    const observer = new ResizeObserver(draw);
    observer.observe(canvas.current.parentElement);
    return () => {
      disposes.forEach((dispose) => dispose());
      observer.disconnect();
      clearTimeout(waiting);
    };
  }, []);
  useEffect(() => {
    grid.current = paint(canvas.current, nodes);
  }, [nodes]);

  const under = (event) => {
    const box = canvas.current.getBoundingClientRect();
    const { columns, cell } = grid.current;
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const index = Math.floor(y / cell) * columns + Math.floor(x / cell);
    return x < columns * cell && index < nodes.length ? index : -1;
  };
  const describe = (index) => {
    const node = shown.peek().nodes.get(nodes[index]?.id);
    if (!node) return '';
    const rows = [...(shown.peek().byNode.get(node.id)?.values() ?? [])];
    const bad = rows.filter(isTrouble).length;
    return `${node.name}, ${node.state}${node.availability === 'active' ? '' : `, ${node.availability}`}, ${count(node.container_count, 'container')}${bad ? `, ${bad} in trouble` : ''}`;
  };
  const keys = (event) => {
    const by = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -grid.current.columns,
      ArrowDown: grid.current.columns,
      Home: -nodes.length,
      End: nodes.length,
    }[event.key];
    if (by) {
      event.preventDefault();
      setCurrent(Math.min(nodes.length - 1, Math.max(0, (current < 0 ? 0 : current) + by)));
    } else if (event.key === 'Enter' && current >= 0) {
      go(['nodes', nodes[current].name]);
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
      aria-label="Nodes; arrow keys go from one to the next"
      aria-activedescendant=${current >= 0 ? 'heat-current' : undefined}
      onKeyDown=${keys}
      onFocus=${() => current < 0 && setCurrent(0)}
    >
      <canvas
        ref=${canvas}
        aria-hidden="true"
        onPointerMove=${(event) => {
          const index = under(event);
          setHover(index < 0 ? null : { index, x: event.offsetX, y: event.offsetY });
        }}
        onPointerLeave=${() => setHover(null)}
        onClick=${(event) => {
          const index = under(event);
          if (index >= 0) go(['nodes', nodes[index].name]);
        }}
      ></canvas>
      <div
        id="heat-current"
        role="option"
        class="heat-spot"
        aria-selected="true"
        aria-setsize=${nodes.length}
        aria-posinset=${at + 1}
        aria-label=${describe(at)}
        style=${spot}
      ></div>
      ${
        hover &&
        html`<span
          class="hover"
          aria-hidden="true"
          style=${{ left: `${hover.x + 12}px`, top: `${hover.y + 12}px` }}
        >
          ${describe(hover.index)}
        </span>`
      }
    </div>
    <p class="heat-legend">
      <span>
        <i class="heat-low"></i>few
      </span>
      <span>
        <i class="heat-high"></i>many containers
      </span>
      <span>
        <i class="heat-down"></i>node DOWN
      </span>
      <span>
        <i class="heat-trouble"></i>containers in trouble
      </span>
      <span>
        <i class="heat-cordoned"></i>cordoned or draining
      </span>
    </p>
  </section>`;
}

const isTrouble = ({ status }) => status === 'FAILED' || status === 'LOST';

/** Draws all cells; how they are arranged. */
function paint(canvas, nodes) {
  const width = canvas.parentElement.clientWidth;
  const room = Math.max(240, innerHeight * 0.62);
  // The largest cells with which all nodes fit into the room there is.
  let cell = MOST;
  while (cell > LEAST && Math.ceil(nodes.length / Math.floor(width / cell)) * cell > room) cell--;
  const columns = Math.max(1, Math.floor(width / cell));
  const height = Math.ceil(nodes.length / columns) * cell;
  const ratio = devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.height = `${height}px`;
  }
  const style = getComputedStyle(canvas);
  const color = (name) => style.getPropertyValue(name).trim();
  const [low, high, down, unknown, trouble, line] = [
    '--heat-low',
    '--heat-high',
    '--is-failed',
    '--is-down',
    '--is-lost',
    '--text',
  ].map(color);
  const pen = canvas.getContext('2d');
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const world = shown.peek();
  let most = 1;
  for (const node of world.nodes.values()) most = Math.max(most, node.container_count);
  const side = cell - 2;
  nodes.forEach(({ id }, index) => {
    const node = world.nodes.get(id);
    if (!node) return;
    const [x, y] = [(index % columns) * cell, Math.floor(index / columns) * cell];
    pen.fillStyle = node.state === 'UP' ? low : node.state === 'DOWN' ? down : unknown;
    pen.fillRect(x, y, side, side);
    if (node.state === 'UP') {
      pen.globalAlpha = Math.min(1, node.container_count / (node.capacity || most));
      pen.fillStyle = high;
      pen.fillRect(x, y, side, side);
      pen.globalAlpha = 1;
    } else if (node.state === 'DOWN') {
      // A cross too: colour alone would not tell everybody.
      pen.strokeStyle = line;
      pen.lineWidth = Math.max(1, cell / 16);
      pen.beginPath();
      pen.moveTo(x + side * 0.3, y + side * 0.3);
      pen.lineTo(x + side * 0.7, y + side * 0.7);
      pen.moveTo(x + side * 0.7, y + side * 0.3);
      pen.lineTo(x + side * 0.3, y + side * 0.7);
      pen.stroke();
    }
    if (node.availability !== 'active') {
      pen.strokeStyle = line;
      pen.lineWidth = 1.5;
      pen.setLineDash([3, 2]);
      pen.strokeRect(x + 1.5, y + 1.5, side - 3, side - 3);
      pen.setLineDash([]);
    }
    for (const row of world.byNode.get(id)?.values() ?? []) {
      if (!isTrouble(row)) continue;
      pen.fillStyle = trouble;
      pen.beginPath();
      pen.moveTo(x + side, y);
      pen.lineTo(x + side, y + side * 0.55);
      pen.lineTo(x + side * 0.45, y);
      pen.fill();
      break;
    }
  });
  return { columns, cell };
}
