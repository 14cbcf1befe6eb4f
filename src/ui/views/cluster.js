// The cluster at a glance: nodes as cards with their containers as tiles; far away, a heat map.
// @ts-check

/** @import { NodeRow } from '../types.js' */

import { html, useMemo } from '../html.js';
import { progress } from '../live.js';
import { Status, Title } from '../parts/bits.js';
import { areListed } from '../parts/card.js';
import { confirm } from '../parts/confirm.js';
import { FirstSteps } from '../parts/first-steps.js';
import { Grid } from '../parts/grid.js';
import { HeatMap } from '../parts/heatmap.js';
import { useChanged } from '../parts/hooks.js';
import { Latest } from '../parts/latest.js';
import { Tiles } from '../parts/tiles.js';
import { count, number } from '../pure/format.js';
import { byName } from '../pure/sorting.js';
import { adjust, route, to } from '../router.js';
import { readOnly, shown } from '../time.js';

/** @typedef {'heat' | 'tiles' | 'names'} Level */

/** Zoom levels, from far to near. @type {Level[]} */
const LEVELS = ['heat', 'tiles', 'names'];
const LABELS = { heat: 'Heat map', tiles: 'Tiles', names: 'Names' };
/** More nodes than this are shown from farther away. */
const NODES_AS_TILES = 40;
const NODES_AS_HEAT = 300;
/** So are more containers per node. */
const CONTAINERS_AS_TILES = 24;
/** How many containers without a node are shown. */
const UNPLACED = 60;

const STATUSES = [
  'UP',
  'LAUNCHING',
  'STOPPING',
  'PAUSED',
  'LOST',
  'FAILED',
  'COMPLETED',
  'DOWN',
  'CREATED',
];

export function Cluster() {
  const world = shown.value;
  const order = world.order.value;
  const nodes = useMemo(() => [...world.nodes.values()].sort(byName), [world, order]);
  if (!nodes.length) return html`<${FirstSteps} />`;
  const wanted = LEVELS.find((level) => level === route.value.query.get('zoom'));
  const level = wanted ?? levelFor(nodes.map(({ id }) => world.nodes.get(id)));
  return html`
    <${Title}
      sub=${html`<${Summary} />`}
      actions=${html`
        <${Zoom} level=${level} />
        <button type="button" disabled=${readOnly.value} onClick=${rebalance}>Rebalance</button>
        <a class="button" href=${to(['nodes', 'new'])}>Mount a node</a>
      `}
    >
      Cluster
    <//>
    ${
      level === 'heat'
        ? html`<${HeatMap} nodes=${nodes} />`
        : html`<${Grid} key=${level} level=${level} nodes=${nodes} />`
    }
    <${Unplaced} />
    <${Latest} />
  `;
}

/**
 * The level at which all nodes have room.
 * @param {(NodeRow | undefined)[]} nodes
 * @returns {Level}
 */
function levelFor(nodes) {
  if (nodes.length > NODES_AS_HEAT) return 'heat';
  const containers = nodes.reduce((sum, node) => sum + (node?.container_count ?? 0), 0);
  const isMany = containers / nodes.length > CONTAINERS_AS_TILES;
  return nodes.length > NODES_AS_TILES || isMany ? 'tiles' : 'names';
}

const rebalance = () =>
  confirm({
    title: 'Rebalance the cluster?',
    verb: 'Rebalance',
    order: { path: '/rebalance' },
    done: 'Rebalancing started',
  });

/** @param {{level: Level}} props */
function Zoom({ level }) {
  /** @param {1 | -1} by */
  const zoom = (by) => adjust({ zoom: LEVELS[LEVELS.indexOf(level) + by] });
  return html`<span class="group" role="group" aria-label="Zoom">
    <button
      type="button"
      aria-label="Zoom out"
      disabled=${level === LEVELS[0]}
      onClick=${() => zoom(-1)}
    >
      −
    </button>
    <span class="zoom-label">${LABELS[level]}</span>
    <button
      type="button"
      aria-label="Zoom in"
      disabled=${level === LEVELS.at(-1)}
      onClick=${() => zoom(1)}
    >
      +
    </button>
  </span>`;
}

/** How many nodes and containers there are, in one line. */
function Summary() {
  const world = shown.value;
  const stamp = useChanged(() => {
    const { changed } = shown.value;
    return [changed.containers.value, changed.nodes.value];
  }, 250);
  const { statuses, down } = useMemo(() => {
    /** @type {Map<string, number>} */
    const statuses = new Map();
    for (const { status } of world.containers.values()) {
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }
    const down = [...world.nodes.values()].filter(({ state }) => state === 'DOWN').length;
    return { statuses, down };
  }, [world, stamp]);
  return html`
    <a href=${to(['nodes'])}>${count(world.nodes.size, 'node')}</a>
    ${down > 0 && html`, <a class="is-bad" href=${downNodes()}>${number(down)} DOWN</a>`}
    ${' · '}
    ${
      areListed(world)
        ? html`<a href=${to(['containers'])}>${count(world.containers.size, 'container')}</a>`
        : html`<span class="faint">${progress.value || 'loading containers …'}</span>`
    }
    ${STATUSES.filter((status) => statuses.get(status)).map(
      (status) => html`
        ${' '}
        <a key=${status} class="tally" href=${to(['containers'], { status })}>
          <${Status} value=${status} />${' '}${number(statuses.get(status) ?? 0)}
        </a>
      `,
    )}
  `;
}

const downNodes = () => to(['nodes'], { state: 'DOWN' });

/** Containers that are on no node. */
function Unplaced() {
  const world = shown.value;
  const stamp = useChanged(() => shown.value.changed.containers.value, 250);
  const rows = useMemo(
    () => [...world.containers.values()].filter((row) => !row.node_id).sort(byName),
    [world, stamp],
  );
  if (!rows.length) return null;
  const more = (/** @type {number} */ left) =>
    html`<a href=${to(['containers'])}>and ${number(left)} more</a>`;
  return html`<section class="unplaced" aria-label="Containers without a node">
    <h2>On no node <span class="faint">${number(rows.length)}</span></h2>
    <${Tiles} rows=${rows} most=${UNPLACED} className="" more=${more} />
  </section>`;
}
