// The cluster at a glance: nodes side by side with their containers as tiles; far away, a heat map.

import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from '../html.js';
import { isScrolling, listed, live, progress } from '../live.js';
import { adjust, carried, route, to } from '../router.js';
import { tape } from '../tape.js';
import { past, readOnly, shown } from '../time.js';
import { byName } from '../world.js';
import { clock, count, groupOf, number, say } from '../words.js';
import { Status, Title } from '../parts/bits.js';
import { confirm } from '../parts/confirm.js';
import { Form } from '../parts/form.js';
import { Pulled } from '../parts/launching.js';
import { useChanged } from '../parts/table.js';
import { toast } from '../parts/toast.js';
import { HeatMap } from './heatmap.js';

/** Sizes in rem. `names` shows a line for each container, `tiles` a small square. */
const LEVELS = {
  names: { label: 'Names', width: 14.5, head: 2.6, row: 1.55, rows: [2, 12] },
  tiles: { label: 'Tiles', width: 10.5, head: 2.6, row: 1.1, rows: [1, 6] },
  heat: { label: 'Heat map' },
};
const ORDER = ['heat', 'tiles', 'names'];
const GAP = 0.75;
const PADDING = 0.6;
const FLIGHT_MS = 900;
const FLIGHTS = 12;
/** So many moves in a second are a storm. */
const STORM = 60;
const LATEST = 8;

export const STATUSES = ['UP', 'LAUNCHING', 'STOPPING', 'LOST', 'FAILED', 'DOWN', 'CREATED'];

export function Cluster() {
  const world = shown.value;
  const order = world.order.value;
  const nodes = useMemo(() => [...world.nodes.values()].sort(byName), [world, order]);
  const average =
    nodes.reduce((sum, { id }) => sum + (world.nodes.get(id)?.container_count ?? 0), 0) /
    Math.max(1, nodes.length);
  const natural =
    nodes.length > 300 ? 'heat' : nodes.length > 40 || average > 24 ? 'tiles' : 'names';
  const level = LEVELS[route.value.query.get('zoom')] ? route.value.query.get('zoom') : natural;
  if (!nodes.length) return html`<${FirstSteps} />`;
  const zoom = (by) => {
    const next = ORDER[ORDER.indexOf(level) + by];
    if (next) adjust({ zoom: next });
  };
  return html`
    <${Title}
      sub=${html`<${Summary} />`}
      actions=${html`
        <span class="group" role="group" aria-label="Zoom">
          <button
            type="button"
            aria-label="Zoom out"
            disabled=${level === ORDER[0]}
            onClick=${() => zoom(-1)}
          >
            −
          </button>
          <span class="zoom-label">${LEVELS[level].label}</span>
          <button
            type="button"
            aria-label="Zoom in"
            disabled=${level === ORDER.at(-1)}
            onClick=${() => zoom(1)}
          >
            +
          </button>
        </span>
        <button type="button" disabled=${readOnly.value} onClick=${rebalance}>
          Rebalance
        </button>
        <a class="button" href=${to(['nodes', 'new'])}>
          Mount a node
        </a>
      `}
    >
      Cluster
    <//>
    ${level === 'heat' ? html`<${HeatMap} nodes=${nodes} />` : html`<${Grid} key=${level} level=${level} nodes=${nodes} />`}
    <${Unplaced} />
    <${Latest} />
  `;
}

const rebalance = () =>
  confirm({
    title: 'Rebalance the cluster?',
    verb: 'Rebalance',
    order: { path: '/rebalance' },
    done: 'The rebalance began',
  });

/** Whether the containers are here, and not only how many each node has. */
const areListed = (world) => world !== live || listed.containers.value;

/** What there is, in one line. */
function Summary() {
  const world = shown.value;
  const stamp = useChanged(
    () => [shown.value.changed.containers.value, shown.value.changed.nodes.value],
    250,
  );
  const { by, down } = useMemo(() => {
    const by = new Map();
    for (const { status } of world.containers.values()) by.set(status, (by.get(status) ?? 0) + 1);
    let down = 0;
    for (const { state } of world.nodes.values()) if (state === 'DOWN') down++;
    return { by, down };
  }, [world, stamp]);
  return html`
    <a href=${to(['nodes'])}>${count(world.nodes.size, 'node')}</a>
    ${
      down > 0 &&
      html`
        ,${' '}
        <a class="is-bad" href=${to(['nodes'], { state: 'DOWN' })}>
          ${number(down)} DOWN
        </a>
      `
    }
    ${' · '}
    ${areListed(world) ? html`<a href=${to(['containers'])}>${count(world.containers.size, 'container')}</a>` : html`<span class="faint">${progress.value || 'reading the containers …'}</span>`}
    ${STATUSES.filter((status) => by.get(status)).map(
      (status) => html`
        ${' '}
        <a key=${status} class="tally" href=${to(['containers'], { status })}>
          <${Status} value=${status} /> ${number(by.get(status))}
        </a>
      `,
    )}
  `;
}

/** Cards in rows; only those in sight are in the page. */
function Grid({ level, nodes }) {
  const world = shown.value;
  const size = LEVELS[level];
  const box = useRef();
  const cards = useRef(new Map());
  const made = useRef(new Map());
  const forget = useRef((id) => made.current.delete(id));
  const [sight, setSight] = useState({ width: 0, from: 0, until: 2000, rem: 16 });
  const stamp = useChanged(() => shown.value.changed.nodes.value, 1000);

  useLayoutEffect(() => {
    const look = () => {
      if (!box.current) return;
      const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
      const top = -box.current.getBoundingClientRect().top;
      const next = {
        width: box.current.clientWidth,
        from: top - innerHeight / 4,
        until: top + innerHeight * 1.25,
        rem,
      };
      setSight((before) =>
        before.width === next.width && before.rem === rem && Math.abs(before.from - next.from) < 150
          ? before
          : next,
      );
    };
    look();
    const observer = new ResizeObserver(look);
    observer.observe(box.current);
    addEventListener('scroll', look, { passive: true });
    return () => {
      observer.disconnect();
      removeEventListener('scroll', look);
    };
  }, []);

  // A migration is seen moving: from card to card.
  useEffect(() => {
    live.onMove = (row, from, to) => fly(row, cards.current.get(from), cards.current.get(to));
    return () => {
      live.onMove = null;
      land();
    };
  }, []);

  const { rem } = sight;
  const columns = Math.max(1, Math.floor((sight.width + GAP * rem) / ((size.width + GAP) * rem)));
  const width = (sight.width - (columns - 1) * GAP * rem) / columns;
  const perRow =
    level === 'names' ? 1 : Math.max(1, Math.floor((width - 2 * PADDING * rem) / (size.row * rem)));
  // Cards are as high as the fullest node needs, in steps, so that they do not jump with each container.
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
  const last = Math.min(nodes.length, Math.max(1, Math.ceil(sight.until / pitch)) * columns);
  const slots = rows * perRow;

  return html`<section
    ref=${box}
    class=${`grid is-${level}`}
    aria-label="Nodes and their containers"
    style=${{ height: `${total * pitch}px` }}
    onKeyDown=${walk}
  >
    ${
      sight.width > 0 &&
      nodes.slice(first, last).map((node, index) => {
        const at = first + index;
        // The same element as before is not looked at again: scrolling makes the cards that come into sight, and no others.
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
      })
    }
  </section>`;
}

function Card({ id, world, level, slots, style, cards, forget }) {
  world.card(id).value;
  const element = useRef();
  useLayoutEffect(() => {
    cards.set(id, element.current);
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
  const trouble = rows.filter(({ status }) => status === 'FAILED' || status === 'LOST').length;
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
          ${many}
          ${node.capacity ? `/${node.capacity}` : ''}
        </span>
      </a>
    </h2>
    <ul class="tiles">
      ${rows.slice(0, fits).map((row) => tile(row, level))}
      ${
        fits < rows.length &&
        html`<li class="more">
          <a tabindex="-1" href=${to(['containers'], { node: id })}>
            +${rows.length - fits}
            ${level === 'names' ? ' more' : ''}
          </a>
        </li>`
      }
    </ul>
    ${trouble > 0 && html`<span class="sr-only">${trouble} in trouble</span>`}
  </article>`;
}

let tiles = new WeakMap();
let madeAt = null;

/** A container in its card, made once for as long as its row stays as it is: what did not change is not looked at again. */
function tile(row, level) {
  const moment = `${level} ${carried.peek()}`;
  if (madeAt !== moment) [tiles, madeAt] = [new WeakMap(), moment];
  let made = tiles.get(row);
  if (!made) tiles.set(row, (made = level === 'names' ? line(row) : square(row)));
  return made;
}

const describe = (row) => `${row.name}, ${row.status}${row.reason ? `: ${row.reason}` : ''}`;

/** A square is its link and nothing else: there are thousands of them. */
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
        ${row.status}
        ${row.status === 'LAUNCHING' && html`<${Pulled} row=${row} />`}
      </span>
    </a>
  </li>`;
}

/** Arrow keys go from tile to tile, by where they are. */
function walk(event) {
  const way = {
    ArrowLeft: [-1, 0],
    ArrowRight: [1, 0],
    ArrowUp: [0, -1],
    ArrowDown: [0, 1],
  }[event.key];
  if (!way || !event.target.matches('a')) return;
  const here = centre(event.target);
  let best = null;
  for (const link of event.currentTarget.querySelectorAll('a')) {
    if (link === event.target) continue;
    const there = centre(link);
    const [dx, dy] = [there.x - here.x, there.y - here.y];
    const along = dx * way[0] + dy * way[1];
    const aside = Math.abs(dx * way[1]) + Math.abs(dy * way[0]);
    if (along < 4) continue;
    const distance = along + aside * 4;
    if (!best || distance < best.distance) best = { link, distance };
  }
  if (best) {
    event.preventDefault();
    best.link.focus();
    best.link.scrollIntoView({ block: 'nearest' });
  }
}

function centre(element) {
  const box = element.getBoundingClientRect();
  return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
}

const flying = new Set();
let taking = [];
/** How many moves there were in this second, and in the one before. */
let moves = { second: 0, now: 0, before: 0 };

/** In a storm of moves no eye follows any of them, and what flies has the whole screen drawn anew in each frame. */
function isStorm() {
  const second = Math.floor(performance.now() / 1000);
  if (second !== moves.second)
    moves = { second, now: 0, before: second === moves.second + 1 ? moves.now : 0 };
  return ++moves.now > STORM || moves.before > STORM;
}

/** A container moves from card to card. All that begin in one frame are measured first and drawn afterwards: one layout for all. */
function fly(row, from, to) {
  if (
    isStorm() ||
    !from ||
    !to ||
    flying.size + taking.length >= FLIGHTS ||
    document.hidden ||
    isScrolling() ||
    matchMedia('(prefers-reduced-motion: reduce)').matches
  )
    return;
  if (!taking.length) requestAnimationFrame(takeOff);
  taking.push({ row, from, to });
}

function takeOff() {
  const measured = taking.map(({ row, from, to }) => ({
    row,
    start: from.getBoundingClientRect(),
    end: to.getBoundingClientRect(),
  }));
  taking = [];
  const frame = (box) => `translate(${box.x + 8}px, ${box.y + Math.min(48, box.height / 2)}px)`;
  for (const { row, start, end } of measured) {
    const dot = document.createElement('div');
    dot.className = 'flight';
    dot.setAttribute('aria-hidden', 'true');
    dot.textContent = row.name;
    document.body.append(dot);
    const flight = dot.animate(
      [
        { transform: frame(start), opacity: 0.4 },
        { opacity: 1, offset: 0.2 },
        { transform: frame(end), opacity: 0.6 },
      ],
      { duration: FLIGHT_MS, easing: 'cubic-bezier(.4,0,.2,1)' },
    );
    flying.add(flight);
    flight.onfinish = flight.oncancel = () => {
      dot.remove();
      flying.delete(flight);
    };
  }
}

/** Whoever leaves the cards leaves what flies between them, too. */
function land() {
  taking = [];
  flying.forEach((flight) => flight.cancel());
}

/** The newest things that happened, until the moment that is shown. */
function Latest() {
  const until = past.value?.seq ?? Infinity;
  useChanged(() => tape.value, 500);
  const { marks } = tape.peek();
  const events = [];
  for (
    let index = marks.length - 1;
    index >= 0 && events.length < LATEST && marks[index].event;
    index--
  ) {
    if (marks[index].seq <= until) events.push(marks[index].event);
  }
  return html`<section class="latest panel" aria-label="What happened last">
    <h2>
      Latest${' '}
      <a class="faint" href=${to(['events'])}>
        all events
      </a>
    </h2>
    ${
      events.length
        ? html`<ol class="chain">
          ${events.map(
            (event) => html`<li key=${event.seq} class=${`mark-${groupOf(event)}`}>
              <span class="when">
                <a href=${to(['events', event.seq])}>#${event.seq}</a>${' '}
                <time datetime=${event.at}>${clock(event.at)}</time>
              </span>
              <span class="what">${say(event, shown.value)}</span>
            </li>`,
          )}
        </ol>`
        : html`<p class="faint">Nothing in the stretch of the time line.</p>`
    }
  </section>`;
}

/** Containers that are on no node and should be. */
function Unplaced() {
  const world = shown.value;
  const stamp = useChanged(() => shown.value.changed.containers.value, 250);
  const rows = useMemo(
    () => [...world.containers.values()].filter((row) => !row.node_id).sort(byName),
    [world, stamp],
  );
  if (!rows.length) return null;
  return html`<section class="unplaced" aria-label="Containers without a node">
    <h2>
      On no node <span class="faint">${number(rows.length)}</span>
    </h2>
    <ul class="tiles is-names">
      ${rows.slice(0, 60).map(
        (row) => html`<li key=${row.id}>
          <a
            class=${`tile is-${row.status.toLowerCase()}`}
            href=${to(['containers', row.name])}
            title=${row.reason}
          >
            <i aria-hidden="true"></i>
            <span class="name">${row.name}</span>
            <span class="word">${row.status}</span>
          </a>
        </li>`,
      )}
      ${
        rows.length > 60 &&
        html`<li>
          <a href=${to(['containers'])}>and ${number(rows.length - 60)} more</a>
        </li>`
      }
    </ul>
  </section>`;
}

/** An empty cluster: what to do first. */
function FirstSteps() {
  return html`<div class="first-steps">
    <h1 tabindex="-1" id="title">
      An empty cluster
    </h1>
    <p class="sub">Three steps to a running container.</p>
    <ol>
      <li class="is-current">
        <h2>Mount a node</h2>
        <p>
          A node is a machine with a Docker engine. Nothing is installed on it: kDaemon
          speaks the engine's own API.
        </p>
        ${readOnly.value ? html`<p class="note">This is read-only: go back to now to mount one.</p>` : html`<${MountForm} done=${(row) => toast(`${row.name} is mounted`)} />`}
      </li>
      <li>
        <h2>Add an application</h2>
        <p>
          An image with its ports, environment and limits.${' '}
          <a href=${to(['applications', 'new'])}>Add one already now</a>: it waits in the
          library.
        </p>
      </li>
      <li>
        <h2>Launch containers</h2>
        <p>
          Say how many; the daemon places them, watches them, and moves them when a node
          fails.
        </p>
      </li>
    </ol>
  </div>`;
}

export function MountForm({ done, cancel }) {
  return html`<${Form}
    schema="NodeInput"
    first=${['endpoint', 'name']}
    also=${{ d_ipaddr: 'endpoint', d_port: 'endpoint' }}
    verb="Mount the node"
    order=${(body) => ({ path: '/nodes/create', body })}
    done=${done}
    cancel=${cancel}
  />`;
}
