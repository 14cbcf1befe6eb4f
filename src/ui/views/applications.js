// The application library: the table, and the page of one.

import { html, useMemo, useState } from '../html.js';
import { seg } from '../api.js';
import { go, route, to } from '../router.js';
import { readOnly, shown } from '../time.js';
import { byName } from '../world.js';
import { bytes, count } from '../words.js';
import { Fact, Facts, Title } from '../parts/bits.js';
import { confirm } from '../parts/confirm.js';
import { Form } from '../parts/form.js';
import { Tabs } from '../parts/tabs.js';
import { Table, useChanged } from '../parts/table.js';
import { toast } from '../parts/toast.js';
import { Environment } from '../parts/environment.js';
import { ContainerTiles, Gone } from './nodes.js';
import { History } from './story.js';

const FIRST = [
  'name',
  'docker_image',
  'exposed_ports',
  'env_variables',
  'replicas',
  'constraints',
  'restart_policy',
  'update_policy',
];

function containersOf(world, id) {
  return [...(world.byApplication.get(id)?.values() ?? [])];
}

export function ApplicationList() {
  const world = shown.value;
  const stamp = useChanged(
    () => [shown.value.changed.applications.value, shown.value.changed.containers.value],
    500,
  );
  const rows = useMemo(() => [...world.applications.values()], [world, stamp]);
  const up = (row) => containersOf(world, row.id).filter(({ status }) => status === 'UP').length;
  const columns = [
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
      show: (row) => `${up(row)} of ${row.replicas ?? containersOf(world, row.id).length}`,
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
  return html`
    <${Title}
      actions=${html`<a class="button" href=${to(['applications', 'new'])}>
        Add an application
      </a>`}
    >
      Applications
    <//>
    <${Table}
      label="applications"
      rows=${rows}
      columns=${columns}
      sort="name"
      search=${(row) => `${row.name} ${row.docker_image}`}
      empty=${html`
        The library is empty.${' '}
        <a href=${to(['applications', 'new'])}>Add the first application</a>.
      `}
    />
  `;
}

export function ApplicationPage({ which }) {
  const world = shown.value;
  useChanged(() => shown.value.changed.applications.value, 150);
  const off = readOnly.value;
  if (which === 'new') {
    return html`
      <${Title} sub="What containers are made from. It waits in the library until containers of it are wanted.">
        Add an application
      <//>
      <section class="panel">
        ${
          off
            ? html`<p class="note">
              What is shown is read-only: go back to now to change something.
            </p>`
            : html`<${Form}
              schema="ApplicationInput"
              first=${FIRST}
              verb="Add the application"
              order=${(body) => ({ path: '/applications/create', body })}
              done=${(row) => {
                toast(`${row.name} is in the library`);
                go(['applications', row.name]);
              }}
              cancel=${() => go(['applications'])}
            />`
        }
      </section>
    `;
  }
  const app = world.find('applications', which);
  if (!app) return html`<${Gone} kind="application" which=${which} />`;
  return html`
    <${Title}
      sub=${html`
        <code>${app.docker_image}</code>
        ${
          !app.is_enabled &&
          html`
            ${' '}
            <span class="tag">disabled</span>
          `
        }
      `}
      actions=${html`
        <a
          class="button"
          aria-disabled=${off}
          href=${to(['containers', 'new'], { application: app.name })}
        >
          New container
        </a>
        <a
          class="button"
          aria-disabled=${off}
          href=${to(['applications', app.name], { edit: 1 })}
        >
          Edit
        </a>
        <button
          type="button"
          class="danger"
          disabled=${off}
          onClick=${() =>
            confirm({
              title: `Delete application ${app.name}?`,
              verb: 'Delete',
              danger: true,
              order: { method: 'DELETE', path: `/applications/delete/${seg(app.id)}` },
              done: `${app.name} is deleted`,
              then: () => go(['applications']),
            })}
        >
          Delete
        </button>
      `}
    >
      ${app.name}
    <//>
    ${
      route.value.query.get('edit') && !off
        ? html`<section class="panel">
          <h2>Edit</h2>
          <${Form}
            schema="ApplicationInput"
            row=${app}
            first=${FIRST}
            verb="Save"
            order=${(body) => ({
              method: 'PATCH',
              path: `/applications/update/${seg(app.id)}`,
              body,
            })}
            done=${(row) => {
              toast(`${row.name} is so now`);
              go(['applications', row.name]);
            }}
            cancel=${() => go(['applications', app.name])}
          />
        </section>`
        : html`<${Tabs}
          tabs=${{
            '': ['Overview', () => html`<${Overview} app=${app} />`],
            history: [
              'History',
              () => html`<${History} kind="applications" id=${app.id} stamp=${app.seq} />`,
            ],
          }}
        />`
    }
  `;
}

function Overview({ app }) {
  const world = shown.value;
  useChanged(() => shown.value.changed.containers.value, 250);
  const rows = containersOf(world, app.id).sort(byName);
  const list = (items) => (items?.length ? items.join(', ') : null);
  const optional = [
    ['Ports', app.exposed_ports],
    ['Command', list(app.command)],
    ['Entry point', list(app.entrypoint)],
    ['Volumes', list(app.volumes)],
    ['Networks', list(app.networks)],
    ['Depends on', list(app.dependencies)],
    ['Constraints', list(app.constraints)],
    ['Preferences', list(app.preferences)],
    ['Spread over', app.spread_over],
    ['Not beside its own', app.anti_affinity ? 'yes' : null],
    ['Beside', list(app.affinity)],
    ['Cpus', app.resources?.cpus],
    ['Memory', app.resources?.memory_bytes && bytes(app.resources.memory_bytes)],
    ['Strategy', app.strategy],
    ['Moved or down at a time', app.disruption_limit],
    ['Registry credentials', app.registry_auth],
    ['Belongs to', app.user_id],
  ].filter(([, value]) => value !== null && value !== undefined && value !== '');
  return html`
    <${Scale} app=${app} rows=${rows} />
    <div class="columns">
      <section class="panel">
        <h2>Application</h2>
        <${Facts}>
          ${optional.map(
            ([name, value]) => html`<${Fact} key=${name} name=${name}>
              ${value}
            <//>`,
          )}
          <${Fact} name="Restart policy">${app.restart_policy}<//>
          <${Fact} name="When it changes">
            ${
              app.update_policy === 'rolling'
                ? 'its containers are replaced one after another'
                : 'its containers take it at their next launch'
            }
          <//>
          ${
            app.health_check &&
            html`<${Fact} name="Health check">
              <code>${app.health_check.command.join(' ')}</code>
            <//>`
          }
          <${Fact} name="Last change">
            <a href=${to(['events', app.seq])}>event ${app.seq}</a>
          <//>
          <${Fact} name="Id">
            <code>${app.id}</code>
          <//>
        <//>
        <h3>Environment</h3>
        <${Environment} text=${app.env_variables} />
      </section>
      <section class="panel">
        <h2>${count(rows.length, 'container')}</h2>
        <${ContainerTiles} rows=${rows} empty="None yet." />
      </section>
    </div>
  `;
}

function Scale({ app, rows }) {
  const [wanted, setWanted] = useState('');
  const up = rows.filter(({ status }) => status === 'UP').length;
  const target = app.replicas ?? rows.filter(({ desired }) => desired === 'running').length;
  const submit = (event) => {
    event.preventDefault();
    const replicas = Number(wanted);
    if (wanted === '' || !Number.isInteger(replicas) || replicas < 0) return;
    confirm({
      title: `Scale ${app.name} to ${count(replicas, 'container')}?`,
      verb: 'Scale',
      danger: replicas < rows.length,
      order: { path: `/applications/scale/${seg(app.id)}`, body: { replicas } },
      done: `${app.name} is scaled to ${replicas}`,
      then: () => setWanted(''),
    });
  };
  return html`<section class="panel scale">
    <h2>Scale</h2>
    <div class="meter">
      <progress
        max=${Math.max(1, target)}
        value=${up}
        aria-label=${`${up} of ${target} are UP`}
      ></progress>
      <span>
        <b>${up}</b> of ${target} UP${app.replicas === null ? ', launched one by one' : ''}
      </span>
    </div>
    <form class="inline" onSubmit=${submit}>
      <label>
        Containers wanted${' '}
        <input
          type="number"
          min="0"
          max="100000"
          inputmode="numeric"
          disabled=${readOnly.value}
          placeholder=${target}
          value=${wanted}
          onInput=${(event) => setWanted(event.target.value)}
        />
      </label>
      <button disabled=${readOnly.value || wanted === ''}>Scale …</button>
    </form>
  </section>`;
}
