// The page of one container, and the form that creates one.
// @ts-check

/** @import { ContainerRow } from '../types.js' */

import { seg } from '../api.js';
import { html } from '../html.js';
import { nameOf } from '../names.js';
import { Fact, Facts, ReadOnly, Status, Thing, Title } from '../parts/bits.js';
import { confirm } from '../parts/confirm.js';
import { Environment } from '../parts/environment.js';
import { Form } from '../parts/form.js';
import { Gone } from '../parts/gone.js';
import { History } from '../parts/history.js';
import { useChanged } from '../parts/hooks.js';
import { Launching, Since } from '../parts/launching.js';
import { Logs } from '../parts/logs.js';
import { Stats } from '../parts/stats.js';
import { Tabs } from '../parts/tabs.js';
import { toast } from '../parts/toast.js';
import { Why } from '../parts/why.js';
import { go, route, to } from '../router.js';
import { past, readOnly, shown } from '../time.js';

/** The fields of the forms that are always in sight. */
const FIRST_NEW = ['application_id', 'name', 'env_variables'];
const FIRST_EDIT = ['name', 'application_id', 'env_variables', 'balance'];

/** @param {{which: string}} props  `which`: its name or its id; `new` for the form */
export function ContainerPage({ which }) {
  const world = shown.value;
  useChanged(() => shown.value.changed.containers.value, 150);
  if (which === 'new') return html`<${Create} />`;
  const row = world.find('containers', which);
  if (!row) return html`<${Gone} kind="container" which=${which} />`;
  const isEditing = route.value.query.get('edit') && !readOnly.value;
  const { id, seq } = row;
  const sub = html`
    <${Status} value=${row.status} />${' '}
    ${
      row.status === 'LAUNCHING' &&
      html`<${Launching} row=${row} />${' '}<${Since} row=${row} />${' '}`
    }
    ${row.reason && html`<span class="reason">${row.reason}</span>`}
  `;
  return html`
    <${Title} sub=${sub} actions=${html`<${Actions} row=${row} />`}>${row.name}<//>
    ${
      isEditing
        ? html`<${Edit} row=${row} />`
        : html`<${Tabs}
            tabs=${{
              '': ['Overview', () => html`<${Overview} row=${row} />`],
              logs: ['Logs', () => html`<${Logs} row=${row} />`],
              why: ['Why', () => html`<${Why} kind="containers" id=${id} stamp=${seq} />`],
              history: [
                'History',
                () => html`<${History} kind="containers" id=${id} stamp=${seq} />`,
              ],
            }}
          />`
    }
  `;
}

/** @param {{row: ContainerRow}} props */
function Actions({ row }) {
  const off = readOnly.value;
  /** @param {string} verb */
  const order = (verb) => ({ path: `/containers/${verb}/${seg(row.id)}` });
  const stop = () =>
    confirm({
      title: `Stop ${row.name}?`,
      verb: 'Stop',
      danger: true,
      order: order('stop'),
      done: `Stopping ${row.name}`,
    });
  const launch = () =>
    confirm({
      title: `Launch ${row.name}?`,
      verb: 'Launch',
      order: order('launch'),
      done: `Launching ${row.name}`,
    });
  const remove = () =>
    confirm({
      title: `Delete container ${row.name}?`,
      verb: 'Delete',
      danger: true,
      order: { method: 'DELETE', path: `/containers/delete/${seg(row.id)}` },
      done: `Deleting ${row.name}`,
      then: () => go(['containers']),
    });
  return html`
    ${row.access_link && !past.value && html`<${Open} link=${row.access_link} />`}
    ${
      row.desired === 'running'
        ? html`<button type="button" disabled=${off} onClick=${stop}>Stop</button>`
        : html`<button type="button" class="primary" disabled=${off} onClick=${launch}>
            Launch
          </button>`
    }
    <a class="button" aria-disabled=${off} href=${to(['containers', row.name], { edit: 1 })}>
      Edit
    </a>
    <button type="button" class="danger" disabled=${off} onClick=${remove}>Delete</button>
  `;
}

/** @param {{link: string}} props */
function Open({ link }) {
  return html`<a class="button" href=${link} target="_blank" rel="noopener noreferrer">
    Open ${link.replace(/^https?:\/\//, '')}
  </a>`;
}

/** @param {{row: ContainerRow}} props */
function Edit({ row }) {
  const application = row.application_id && nameOf(shown.value, 'applications', row.application_id);
  /** @param {object} body */
  const order = (body) => ({ method: 'PATCH', path: `/containers/update/${seg(row.id)}`, body });
  /** @param {ContainerRow} after */
  const done = (after) => {
    toast(`Saved ${after.name}`);
    go(['containers', after.name]);
  };
  return html`<section class="panel">
    <h2>Edit</h2>
    <${Form}
      schema="ContainerInput"
      row=${{ ...row, application_id: application }}
      first=${FIRST_EDIT}
      verb="Save"
      order=${order}
      done=${done}
      cancel=${() => go(['containers', row.name])}
    />
  </section>`;
}

/** @param {{row: ContainerRow}} props */
function Overview({ row }) {
  const application = shown.value.applications.get(row.application_id ?? '');
  const restarts = row.restarts === 1 ? '1 restart' : `${row.restarts} restarts`;
  return html`<div class="columns">
    <section class="panel">
      <h2>Container</h2>
      <${Facts}>
        <${Fact} name="Node"><${Thing} kind="nodes" id=${row.node_id} /><//>
        <${Fact} name="Application">
          <${Thing} kind="applications" id=${row.application_id} />
        <//>
        <${Fact} name="Target state">${row.desired}<//>
        <${Fact} name="Launch no.">${row.generation}${row.restarts > 0 && `, ${restarts}`}<//>
        <${Fact} name="Ports"><${Ports} row=${row} /><//>
        ${row.access_link && html`<${Fact} name="Address"><${Link} link=${row.access_link} /><//>`}
        <${Fact} name="Can be rebalanced">${row.balance ? 'yes' : 'no, pinned to its node'}<//>
        ${row.user_id && html`<${Fact} name="Owner">${row.user_id}<//>`}
        <${Fact} name="Container ID">
          <code>${row.container_id ? row.container_id.slice(0, 12) : '–'}</code>
        <//>
        <${Fact} name="Last change">
          <a href=${to(['events', String(row.seq)])}>event ${row.seq}</a>
        <//>
        <${Fact} name="ID"><code>${row.id}</code><//>
      <//>
      <h3>Environment</h3>
      <${Environment} text=${row.env_variables} />
      ${
        application?.env_variables &&
        html`
          <h3>Environment from its application</h3>
          <${Environment} text=${application.env_variables} />
        `
      }
    </section>
    <section class="panel">
      <h2>Usage</h2>
      <${Stats} row=${row} />
    </section>
  </div>`;
}

/** @param {{link: string}} props */
function Link({ link }) {
  return html`<a href=${link} target="_blank" rel="noopener noreferrer">${link}</a>`;
}

/** @param {{row: ContainerRow}} props */
function Ports({ row }) {
  if (!row.ports.length) return 'none published';
  return html`<ul class="bare">
    ${row.ports.map(
      (port) => html`<li key=${port.host}>${port.host} → ${port.container}/${port.protocol}</li>`,
    )}
  </ul>`;
}

function Create() {
  /** @param {object} body */
  const order = (body) => ({ path: '/containers/create', body });
  /** @param {ContainerRow} row */
  const done = (row) => {
    toast(`Created ${row.name}`);
    go(['containers', row.name]);
  };
  const form = html`<${Form}
    schema="ContainerInput"
    first=${FIRST_NEW}
    initial=${{ application_id: route.value.query.get('application') ?? '' }}
    verb="Create"
    order=${order}
    done=${done}
    cancel=${() => go(['containers'])}
  />`;
  return html`
    <${Title} sub="Launching a container places it on a node.">New container<//>
    <section class="panel">${readOnly.value ? html`<${ReadOnly} />` : form}</section>
  `;
}
