// The page of one application, and the form that adds one.
// @ts-check

/** @import { ApplicationRow, ContainerRow } from '../types.js' */

import { seg } from '../api.js';
import { html, useState } from '../html.js';
import { Fact, Facts, ReadOnly, Title } from '../parts/bits.js';
import { confirm } from '../parts/confirm.js';
import { Environment } from '../parts/environment.js';
import { Form } from '../parts/form.js';
import { Gone } from '../parts/gone.js';
import { History } from '../parts/history.js';
import { useChanged } from '../parts/hooks.js';
import { Tabs } from '../parts/tabs.js';
import { ContainerTiles } from '../parts/tiles.js';
import { toast } from '../parts/toast.js';
import { bytes, count } from '../pure/format.js';
import { commandText } from '../pure/health.js';
import { byName } from '../pure/sorting.js';
import { go, route, to } from '../router.js';
import { readOnly, shown } from '../time.js';

/** The fields of the form that are always in sight. */
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

/** @param {{which: string}} props  `which`: its name or its id; `new` for the form */
export function ApplicationPage({ which }) {
  const world = shown.value;
  useChanged(() => shown.value.changed.applications.value, 150);
  if (which === 'new') return html`<${Add} />`;
  const app = world.find('applications', which);
  if (!app) return html`<${Gone} kind="application" which=${which} />`;
  const isEditing = route.value.query.get('edit') && !readOnly.value;
  const { id, seq } = app;
  const sub = html`
    <code>${app.docker_image}</code>
    ${!app.is_enabled && html` <span class="tag">disabled</span>`}
  `;
  return html`
    <${Title} sub=${sub} actions=${html`<${Actions} app=${app} />`}>${app.name}<//>
    ${
      isEditing
        ? html`<${Edit} app=${app} />`
        : html`<${Tabs}
            tabs=${{
              '': ['Overview', () => html`<${Overview} app=${app} />`],
              history: [
                'History',
                () => html`<${History} kind="applications" id=${id} stamp=${seq} />`,
              ],
            }}
          />`
    }
  `;
}

/** @param {{app: ApplicationRow}} props */
function Actions({ app }) {
  const off = readOnly.value;
  const remove = () =>
    confirm({
      title: `Delete application ${app.name}?`,
      verb: 'Delete',
      danger: true,
      order: { method: 'DELETE', path: `/applications/delete/${seg(app.id)}` },
      done: `Deleted ${app.name}`,
      then: () => go(['applications']),
    });
  const create = to(['containers', 'new'], { application: app.name });
  const edit = to(['applications', app.name], { edit: 1 });
  return html`
    <a class="button" aria-disabled=${off} href=${create}>New container</a>
    <a class="button" aria-disabled=${off} href=${edit}>Edit</a>
    <button type="button" class="danger" disabled=${off} onClick=${remove}>Delete</button>
  `;
}

function Add() {
  /** @param {object} body */
  const order = (body) => ({ path: '/applications/create', body });
  /** @param {ApplicationRow} row */
  const done = (row) => {
    toast(`Added ${row.name}`);
    go(['applications', row.name]);
  };
  const form = html`<${Form}
    schema="ApplicationInput"
    first=${FIRST}
    verb="Add"
    order=${order}
    done=${done}
    cancel=${() => go(['applications'])}
  />`;
  return html`
    <${Title} sub="An image with its settings. Set replicas to run it.">Add an application<//>
    <section class="panel">${readOnly.value ? html`<${ReadOnly} />` : form}</section>
  `;
}

/** @param {{app: ApplicationRow}} props */
function Edit({ app }) {
  /** @param {object} body */
  const order = (body) => ({ method: 'PATCH', path: `/applications/update/${seg(app.id)}`, body });
  /** @param {ApplicationRow} row */
  const done = (row) => {
    toast(`Saved ${row.name}`);
    go(['applications', row.name]);
  };
  return html`<section class="panel">
    <h2>Edit</h2>
    <${Form}
      schema="ApplicationInput"
      row=${app}
      first=${FIRST}
      verb="Save"
      order=${order}
      done=${done}
      cancel=${() => go(['applications', app.name])}
    />
  </section>`;
}

/**
 * @typedef {{
 *   cpus?: number,
 *   memory_bytes?: number,
 *   reserved_cpus?: number,
 *   reserved_memory_bytes?: number,
 * }} Resources
 */

/** @param {string[] | undefined} items */
const list = (items) => items?.join(', ');

/**
 * What an application may have.
 * @param {ApplicationRow} app
 * @returns {[string, unknown][]}
 */
function optionalFacts(app) {
  const resources = /** @type {Resources} */ (app.resources);
  /** @type {[string, unknown][]} */
  const facts = [
    ['Ports', app.exposed_ports],
    ['Command', app.command.join(' ')],
    ['Entry point', app.entrypoint.join(' ')],
    ['Volumes', list(app.volumes)],
    ['Networks', list(app.networks)],
    ['Depends on', list(app.dependencies)],
    ['Constraints', list(app.constraints)],
    ['Preferences', list(app.preferences)],
    ['Spread over', app.spread_over],
    ['Anti-affinity', app.anti_affinity && 'at most one container per node'],
    ['Affinity', list(app.affinity)],
    ['CPUs', resources.cpus],
    ['Memory', resources.memory_bytes && bytes(resources.memory_bytes)],
    ['Reserved CPUs', resources.reserved_cpus],
    ['Reserved memory', resources.reserved_memory_bytes && bytes(resources.reserved_memory_bytes)],
    ['Strategy', app.strategy],
    ['Disruption limit', app.disruption_limit],
    ['Registry credentials', app.registry_auth],
    ['Owner', app.user_id],
  ];
  return facts.filter(([, value]) => value || value === 0);
}

/** @param {{app: ApplicationRow}} props */
function Overview({ app }) {
  const world = shown.value;
  useChanged(() => shown.value.changed.containers.value, 250);
  const rows = [...(world.byApplication.get(app.id)?.values() ?? [])].sort(byName);
  const check = /** @type {{command?: string[], disable?: boolean} | null | undefined} */ (
    /** @type {unknown} */ (app.health_check)
  );
  return html`
    <${Scale} app=${app} rows=${rows} />
    <div class="columns">
      <section class="panel">
        <h2>Application</h2>
        <${Facts}>
          ${optionalFacts(app).map(
            ([name, value]) => html`<${Fact} key=${name} name=${name}>${value}<//>`,
          )}
          <${Fact} name="Restart policy">${app.restart_policy}<//>
          <${Fact} name="On change">
            ${
              app.update_policy === 'rolling'
                ? 'containers are replaced one after another'
                : 'restart containers by hand'
            }
          <//>
          ${check && html`<${Fact} name="Health check"><${HealthCheck} check=${check} /><//>`}
          <${Fact} name="Last change">
            <a href=${to(['events', String(app.seq)])}>event ${app.seq}</a>
          <//>
          <${Fact} name="ID"><code>${app.id}</code><//>
        <//>
        <h3>Environment</h3>
        <${Environment} text=${app.env_variables} />
      </section>
      <section class="panel">
        <h2>${count(rows.length, 'container')}</h2>
        <${ContainerTiles} rows=${rows} />
      </section>
    </div>
  `;
}

/** @param {{check: {command?: string[], disable?: boolean}}} props */
function HealthCheck({ check }) {
  if (check.disable) return 'disabled';
  if (!check.command) return 'the command of the image';
  return html`<code>${commandText(check.command)}</code>`;
}

/** @param {{app: ApplicationRow, rows: ContainerRow[]}} props */
function Scale({ app, rows }) {
  const [wanted, setWanted] = useState('');
  const up = rows.filter(({ status }) => status === 'UP').length;
  const running = rows.filter(({ desired }) => desired === 'running').length;
  const target = app.replicas ?? running;
  /** @param {SubmitEvent} event */
  const submit = (event) => {
    event.preventDefault();
    const replicas = Number(wanted);
    if (wanted === '' || !Number.isInteger(replicas) || replicas < 0) return;
    confirm({
      title: `Scale ${app.name} to ${count(replicas, 'container')}?`,
      verb: 'Scale',
      danger: replicas < rows.length,
      order: { path: `/applications/scale/${seg(app.id)}`, body: { replicas } },
      done: `Scaled ${app.name} to ${replicas}`,
      then: () => setWanted(''),
    });
  };
  const isByHand = app.replicas === null || app.replicas === undefined;
  return html`<section class="panel scale">
    <h2>Scale</h2>
    <div class="meter">
      <progress
        max=${Math.max(1, target)}
        value=${up}
        aria-label=${`${up} of ${target} are UP`}
      ></progress>
      <span><b>${up}</b> of ${target} UP${isByHand && ', scaled by hand'}</span>
    </div>
    <form class="inline" onSubmit=${submit}>
      <label>
        Replicas${' '}
        <input
          type="number"
          min="0"
          max="100000"
          inputmode="numeric"
          disabled=${readOnly.value}
          placeholder=${target}
          value=${wanted}
          onInput=${(/** @type {any} */ event) => setWanted(event.target.value)}
        />
      </label>
      <button disabled=${readOnly.value || wanted === ''}>Scale …</button>
    </form>
  </section>`;
}
