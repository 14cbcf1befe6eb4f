// Containers: the table, and the page of one.

import { html, useMemo } from '../html.js';
import { seg } from '../api.js';
import { go, route, to } from '../router.js';
import { past, readOnly, shown } from '../time.js';
import { nameOf } from '../words.js';
import { Fact, Facts, Status, Thing, Title } from '../parts/bits.js';
import { confirm } from '../parts/confirm.js';
import { Environment } from '../parts/environment.js';
import { Form } from '../parts/form.js';
import { Launching, Pulled } from '../parts/launching.js';
import { Tabs } from '../parts/tabs.js';
import { Table, useChanged } from '../parts/table.js';
import { toast } from '../parts/toast.js';
import { Logs } from './logs.js';
import { Gone } from './nodes.js';
import { Stats } from './stats.js';
import { History, Since, Why } from './story.js';

export function ContainerList() {
  const world = shown.value;
  const stamp = useChanged(() => shown.value.changed.containers.value, 500);
  const rows = useMemo(() => [...world.containers.values()], [world, stamp]);
  const node = (row) => (row.node_id ? nameOf(world, 'nodes', row.node_id) : '');
  const app = (row) =>
    row.application_id ? nameOf(world, 'applications', row.application_id) : '';
  const columns = [
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
      value: node,
      show: (row) => html`<${Thing} kind="nodes" id=${row.node_id} />`,
    },
    {
      key: 'application',
      label: 'Application',
      minor: true,
      value: app,
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
  const filters = [
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
  return html`
    <${Title}
      actions=${html`<a class="button" href=${to(['containers', 'new'])}>
        New container
      </a>`}
    >
      Containers
    <//>
    <${Table}
      label="containers"
      rows=${rows}
      columns=${columns}
      filters=${filters}
      sort="name"
      search=${(row) =>
        `${row.name} ${node(row)} ${app(row)} ${row.reason ?? ''} ${row.container_id ?? ''}`}
      empty=${html`
        There is no container. <a href=${to(['applications'])}>Scale an application</a>,
        or <a href=${to(['containers', 'new'])}>make one by hand</a>.
      `}
    />
  `;
}

export function ContainerPage({ which }) {
  const world = shown.value;
  useChanged(() => shown.value.changed.containers.value, 150);
  const off = readOnly.value;
  if (which === 'new') return html`<${NewContainer} />`;
  const row = world.find('containers', which);
  if (!row) return html`<${Gone} kind="container" which=${which} />`;
  const order = (verb) => ({ path: `/containers/${verb}/${seg(row.id)}` });
  const stops = row.desired === 'running';
  const tabs = {
    '': ['Overview', () => html`<${Overview} row=${row} />`],
    logs: ['Logs', () => html`<${Logs} row=${row} />`],
    why: ['Why', () => html`<${Why} kind="containers" id=${row.id} stamp=${row.seq} />`],
    history: [
      'History',
      () => html`<${History} kind="containers" id=${row.id} stamp=${row.seq} />`,
    ],
  };
  return html`
    <${Title}
      sub=${html`
        <${Status} value=${row.status} />
        ${
          row.status === 'LAUNCHING' &&
          html`
            ${' '}
            <${Launching} row=${row} /> <${Since} row=${row} />
          `
        }${' '}
        ${row.reason && html`<span class="reason">${row.reason}</span>`}
      `}
      actions=${html`
        ${
          row.access_link &&
          !past.value &&
          html`<a
            class="button"
            href=${row.access_link}
            target="_blank"
            rel="noopener noreferrer"
          >
            Open ${row.access_link.replace(/^https?:\/\//, '')}
          </a>`
        }
        ${
          stops
            ? html`<button
              type="button"
              disabled=${off}
              onClick=${() =>
                confirm({
                  title: `Stop ${row.name}?`,
                  verb: 'Stop',
                  danger: true,
                  order: order('stop'),
                  done: `${row.name} is being stopped`,
                })}
            >
              Stop
            </button>`
            : html`<button
              type="button"
              class="primary"
              disabled=${off}
              onClick=${() =>
                confirm({
                  title: `Launch ${row.name}?`,
                  verb: 'Launch',
                  order: order('launch'),
                  done: `${row.name} is being launched`,
                })}
            >
              Launch
            </button>`
        }
        <a
          class="button"
          aria-disabled=${off}
          href=${to(['containers', row.name], { edit: 1 })}
        >
          Edit
        </a>
        <button
          type="button"
          class="danger"
          disabled=${off}
          onClick=${() =>
            confirm({
              title: `Delete container ${row.name}?`,
              verb: 'Delete',
              danger: true,
              order: { method: 'DELETE', path: `/containers/delete/${seg(row.id)}` },
              done: `${row.name} is being deleted`,
              then: () => go(['containers']),
            })}
        >
          Delete
        </button>
      `}
    >
      ${row.name}
    <//>
    ${
      route.value.query.get('edit') && !off
        ? html`<section class="panel">
          <h2>Edit</h2>
          <${Form}
            schema="ContainerInput"
            row=${{
              ...row,
              application_id:
                row.application_id && nameOf(world, 'applications', row.application_id),
            }}
            first=${['name', 'application_id', 'env_variables', 'balance']}
            verb="Save"
            order=${(body) => ({
              method: 'PATCH',
              path: `/containers/update/${seg(row.id)}`,
              body,
            })}
            done=${(after) => {
              toast(`${after.name} is so now`);
              go(['containers', after.name]);
            }}
            cancel=${() => go(['containers', row.name])}
          />
        </section>`
        : html`<${Tabs} tabs=${tabs} />`
    }
  `;
}

function Overview({ row }) {
  const application = shown.value.applications.get(row.application_id);
  return html`<div class="columns">
    <section class="panel">
      <h2>Container</h2>
      <${Facts}>
        <${Fact} name="Node">
          <${Thing} kind="nodes" id=${row.node_id} />
        <//>
        <${Fact} name="Application">
          <${Thing} kind="applications" id=${row.application_id} />
        <//>
        <${Fact} name="Wanted">${row.desired}<//>
        <${Fact} name="Generation">
          ${row.generation}
          ${
            row.restarts > 0 &&
            `, started again ${row.restarts === 1 ? 'once' : `${row.restarts} times`}`
          }
        <//>
        <${Fact} name="Ports">
          ${
            row.ports.length
              ? html`<ul class="bare">
                ${row.ports.map(
                  (port) => html`<li key=${port.host}>
                    ${port.host} → ${port.container}/${port.protocol}
                  </li>`,
                )}
              </ul>`
              : 'none published'
          }
        <//>
        ${
          row.access_link &&
          html`<${Fact} name="Answers at">
            <a href=${row.access_link} target="_blank" rel="noopener noreferrer">
              ${row.access_link}
            </a>
          <//>`
        }
        <${Fact} name="May be moved for balance">
          ${row.balance ? 'yes' : 'no, it is pinned'}
        <//>
        ${row.user_id && html`<${Fact} name="Belongs to">${row.user_id}<//>`}
        <${Fact} name="On its engine">
          <code>${row.container_id ? row.container_id.slice(0, 12) : '–'}</code>
        <//>
        <${Fact} name="Last change">
          <a href=${to(['events', row.seq])}>event ${row.seq}</a>
        <//>
        <${Fact} name="Id">
          <code>${row.id}</code>
        <//>
      <//>
      <h3>Environment</h3>
      <${Environment} text=${row.env_variables} />
      ${
        application?.env_variables &&
        html`
          <h3>Environment of its application</h3>
          <${Environment} text=${application.env_variables} />
        `
      }
    </section>
    <section class="panel">
      <h2>Use</h2>
      <${Stats} row=${row} />
    </section>
  </div>`;
}

function NewContainer() {
  return html`
    <${Title} sub="A record of a container; launching it places it on a node.">
      New container
    <//>
    <section class="panel">
      ${
        readOnly.value
          ? html`<p class="note">What is shown is read-only: go back to now to change something.</p>`
          : html`<${Form}
            schema="ContainerInput"
            first=${['application_id', 'name', 'env_variables']}
            initial=${{ application_id: route.value.query.get('application') ?? '' }}
            verb="Create the container"
            order=${(body) => ({ path: '/containers/create', body })}
            done=${(row) => {
              toast(`${row.name} is created; launch it when you like`);
              go(['containers', row.name]);
            }}
            cancel=${() => go(['containers'])}
          />`
      }
    </section>
  `;
}
