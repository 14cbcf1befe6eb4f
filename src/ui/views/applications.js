// The table of applications.
// @ts-check

/** @import { ApplicationRow } from '../types.js' */
/** @import { Column } from '../parts/table.js' */
/** @import { World } from '../world.js' */

import { html, useMemo } from '../html.js';
import { Title } from '../parts/bits.js';
import { useChanged } from '../parts/hooks.js';
import { Table } from '../parts/table.js';
import { to } from '../router.js';
import { shown } from '../time.js';

/**
 * @param {World} world
 * @returns {Column<ApplicationRow>[]}
 */
function columnsOf(world) {
  /** @param {ApplicationRow} row */
  const containers = (row) => [...(world.byApplication.get(row.id)?.values() ?? [])];
  /** @param {ApplicationRow} row */
  const up = (row) => containers(row).filter(({ status }) => status === 'UP').length;
  return [
    {
      key: 'name',
      label: 'Name',
      value: (row) => row.name,
      show: (row) => html`<a href=${to(['applications', row.name])}>${row.name}</a>`,
    },
    { key: 'image', label: 'Image', value: (row) => row.docker_image },
    {
      key: 'up',
      label: 'UP',
      right: true,
      value: up,
      show: (row) => `${up(row)} of ${row.replicas ?? containers(row).length}`,
    },
    { key: 'ports', label: 'Ports', minor: true, value: (row) => row.exposed_ports },
    {
      key: 'constraints',
      label: 'Constraints',
      minor: true,
      value: (row) => row.constraints.join(', '),
    },
    {
      key: 'enabled',
      label: 'Enabled',
      minor: true,
      value: (row) => (row.is_enabled ? 'yes' : 'no'),
    },
  ];
}

export function ApplicationList() {
  const world = shown.value;
  const stamp = useChanged(() => {
    const { changed } = shown.value;
    return [changed.applications.value, changed.containers.value];
  }, 500);
  const rows = useMemo(() => [...world.applications.values()], [world, stamp]);
  const add = to(['applications', 'new']);
  return html`
    <${Title} actions=${html`<a class="button" href=${add}>Add an application</a>`}>
      Applications
    <//>
    <${Table}
      label="applications"
      rows=${rows}
      columns=${columnsOf(world)}
      sort="name"
      search=${(/** @type {ApplicationRow} */ row) => `${row.name} ${row.docker_image}`}
      empty=${html`No applications yet. <a href=${add}>Add the first one</a>.`}
    />
  `;
}
