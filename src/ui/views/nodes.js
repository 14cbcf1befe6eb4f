// The table of nodes.
// @ts-check

/** @import { NodeRow } from '../types.js' */
/** @import { Column, Filter } from '../parts/table.js' */

import { html, useMemo } from '../html.js';
import { Status, Title } from '../parts/bits.js';
import { useChanged } from '../parts/hooks.js';
import { Table } from '../parts/table.js';
import { labelsText } from '../pure/format.js';
import { to } from '../router.js';
import { shown } from '../time.js';

/** @type {Column<NodeRow>[]} */
const COLUMNS = [
  {
    key: 'name',
    label: 'Name',
    value: (row) => row.name,
    show: (row) => html`<a href=${to(['nodes', row.name])}>${row.name}</a>`,
  },
  {
    key: 'state',
    label: 'State',
    value: (row) => row.state,
    show: (row) => html`<${Status} value=${row.state} />`,
  },
  { key: 'availability', label: 'Availability', value: (row) => row.availability },
  {
    key: 'count',
    label: 'Containers',
    right: true,
    value: (row) => row.container_count,
    show: (row) => `${row.container_count}${row.capacity ? ` of ${row.capacity}` : ''}`,
  },
  { key: 'endpoint', label: 'Endpoint', minor: true, value: (row) => row.endpoint },
  { key: 'labels', label: 'Labels', minor: true, value: (row) => labelsText(row.labels) },
  {
    key: 'engine',
    label: 'Engine',
    minor: true,
    value: (row) => (row.engine ? `${row.engine.kind} ${row.engine.version}` : ''),
  },
  { key: 'reason', label: 'Reason', minor: true, value: (row) => row.reason ?? '' },
];
/** @type {Filter<NodeRow>[]} */
const FILTERS = [
  { key: 'state', label: 'State', value: (row) => row.state },
  { key: 'availability', label: 'Availability', value: (row) => row.availability },
];

/** @param {NodeRow} row */
const search = (row) => `${row.name} ${row.endpoint} ${labelsText(row.labels)} ${row.reason ?? ''}`;

export function NodeList() {
  const world = shown.value;
  const stamp = useChanged(() => shown.value.changed.nodes.value, 500);
  const rows = useMemo(() => [...world.nodes.values()], [world, stamp]);
  const mount = to(['nodes', 'new']);
  return html`
    <${Title} actions=${html`<a class="button" href=${mount}>Mount a node</a>`}>Nodes<//>
    <${Table}
      label="nodes"
      rows=${rows}
      columns=${COLUMNS}
      filters=${FILTERS}
      sort="name"
      search=${search}
      empty=${html`No nodes yet. <a href=${mount}>Mount the first one</a>.`}
    />
  `;
}
