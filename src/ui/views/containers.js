// The table of containers.
// @ts-check

/** @import { ContainerRow } from '../types.js' */
/** @import { Column, Filter } from '../parts/table.js' */
/** @import { World } from '../world.js' */

import { html, useMemo } from '../html.js';
import { nameOf } from '../names.js';
import { Status, Thing, Title } from '../parts/bits.js';
import { useChanged } from '../parts/hooks.js';
import { Pulled } from '../parts/launching.js';
import { Table } from '../parts/table.js';
import { to } from '../router.js';
import { shown } from '../time.js';

/**
 * The name of a thing; empty when there is none.
 * @param {World} world
 * @param {'nodes' | 'applications'} kind
 * @param {string | null | undefined} id
 */
const named = (world, kind, id) => (id ? nameOf(world, kind, id) : '');

/**
 * @param {World} world
 * @returns {Column<ContainerRow>[]}
 */
const columnsOf = (world) => [
  {
    key: 'name',
    label: 'Name',
    value: (row) => row.name,
    show: (row) => html`<a href=${to(['containers', row.name])}>${row.name}</a>`,
  },
  {
    key: 'status',
    label: 'Status',
    value: (row) => row.status,
    show: (row) => html`
      <${Status} value=${row.status} />
      ${row.status === 'LAUNCHING' && html`<${Pulled} row=${row} />`}
    `,
  },
  {
    key: 'node',
    label: 'Node',
    value: (row) => named(world, 'nodes', row.node_id),
    show: (row) => html`<${Thing} kind="nodes" id=${row.node_id} />`,
  },
  {
    key: 'application',
    label: 'Application',
    minor: true,
    value: (row) => named(world, 'applications', row.application_id),
    show: (row) => html`<${Thing} kind="applications" id=${row.application_id} />`,
  },
  {
    key: 'ports',
    label: 'Ports',
    minor: true,
    value: (row) => row.ports.map((port) => `${port.host}→${port.container}`).join(', '),
  },
  {
    key: 'restarts',
    label: 'Restarts',
    minor: true,
    right: true,
    value: (row) => row.restarts,
  },
  { key: 'reason', label: 'Reason', minor: true, value: (row) => row.reason ?? '' },
];

/**
 * @param {World} world
 * @returns {Filter<ContainerRow>[]}
 */
const filtersOf = (world) => [
  { key: 'status', label: 'Status', value: (row) => row.status },
  {
    key: 'node',
    label: 'Node',
    value: (row) => row.node_id,
    name: (id) => nameOf(world, 'nodes', id),
  },
  {
    key: 'app',
    label: 'Application',
    value: (row) => row.application_id,
    name: (id) => nameOf(world, 'applications', id),
  },
];

export function ContainerList() {
  const world = shown.value;
  const stamp = useChanged(() => shown.value.changed.containers.value, 500);
  const rows = useMemo(() => [...world.containers.values()], [world, stamp]);
  /** @param {ContainerRow} row */
  const search = (row) =>
    [
      row.name,
      named(world, 'nodes', row.node_id),
      named(world, 'applications', row.application_id),
      row.reason,
      row.container_id,
    ].join(' ');
  const create = to(['containers', 'new']);
  return html`
    <${Title} actions=${html`<a class="button" href=${create}>New container</a>`}>Containers<//>
    <${Table}
      label="containers"
      rows=${rows}
      columns=${columnsOf(world)}
      filters=${filtersOf(world)}
      sort="name"
      search=${search}
      empty=${html`
        No containers yet. <a href=${to(['applications'])}>Scale an application</a>, or
        ${' '}<a href=${create}>create one by hand</a>.
      `}
    />
  `;
}
