// Nodes: the table, and the page of one.

import { html, useMemo } from '../html.js';
import { seg } from '../api.js';
import { go, route, to } from '../router.js';
import { readOnly, shown } from '../time.js';
import { byName } from '../world.js';
import { bytes, count } from '../words.js';
import { Fact, Facts, Status, Title } from '../parts/bits.js';
import { confirm } from '../parts/confirm.js';
import { Form } from '../parts/form.js';
import { Tabs } from '../parts/tabs.js';
import { Table, useChanged } from '../parts/table.js';
import { toast } from '../parts/toast.js';
import { MountForm } from './cluster.js';
import { History, Why } from './story.js';

const labelsText = (labels) =>
  Object.entries(labels ?? {})
    .map(([name, value]) => (value ? `${name}=${value}` : name))
    .join(', ');

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
const FILTERS = [
  { key: 'state', label: 'State', value: (row) => row.state },
  { key: 'availability', label: 'Availability', value: (row) => row.availability },
];

export function NodeList() {
  const world = shown.value;
  const stamp = useChanged(() => shown.value.changed.nodes.value, 500);
  const rows = useMemo(() => [...world.nodes.values()], [world, stamp]);
  return html`
    <${Title}
      actions=${html`<a class="button" href=${to(['nodes', 'new'])}>
        Mount a node
      </a>`}
    >
      Nodes
    <//>
    <${Table}
      label="nodes"
      rows=${rows}
      columns=${COLUMNS}
      filters=${FILTERS}
      sort="name"
      search=${(row) => `${row.name} ${row.endpoint} ${labelsText(row.labels)} ${row.reason ?? ''}`}
      empty=${html`
        No node is mounted. <a href=${to(['nodes', 'new'])}>Mount the first one</a>.
      `}
    />
  `;
}

export function NodePage({ which }) {
  const world = shown.value;
  useChanged(() => shown.value.changed.nodes.value, 150);
  if (which === 'new') return html`<${Mount} />`;
  const node = world.find('nodes', which);
  if (!node) return html`<${Gone} kind="node" which=${which} tabs />`;
  const edit = route.value.query.get('edit');
  const order = (verb) => ({ path: `/nodes/${verb}/${seg(node.id)}` });
  const cordoned = node.availability !== 'active';
  const off = readOnly.value;
  return html`
    <${Title}
      sub=${html`
        <${Status} value=${node.state} />${' '}
        ${node.availability !== 'active' && html`<span class="tag">${node.availability}</span>`}${' '}
        ${node.reason && html`<span class="reason">${node.reason}</span>`}
      `}
      actions=${html`
        ${
          cordoned
            ? html`<button
              type="button"
              disabled=${off}
              onClick=${() =>
                confirm({
                  title: `Take ${node.name} into placement again?`,
                  verb: 'Uncordon',
                  order: order('uncordon'),
                  done: `${node.name} takes containers again`,
                })}
            >
              Uncordon
            </button>`
            : html`<button
              type="button"
              disabled=${off}
              onClick=${() =>
                confirm({
                  title: `Cordon ${node.name}?`,
                  verb: 'Cordon',
                  order: order('cordon'),
                  done: `${node.name} is cordoned`,
                })}
            >
              Cordon
            </button>`
        }
        <button
          type="button"
          disabled=${off || node.availability === 'draining'}
          onClick=${() =>
            confirm({
              title: `Drain ${node.name}?`,
              verb: 'Drain',
              order: order('drain'),
              done: `${node.name} is being drained`,
            })}
        >
          Drain
        </button>
        <a
          class="button"
          aria-disabled=${off}
          href=${to(['nodes', node.name], { edit: 1 })}
        >
          Edit
        </a>
        <button
          type="button"
          class="danger"
          disabled=${off}
          onClick=${() =>
            confirm({
              title: `Unmount ${node.name}?`,
              verb: 'Unmount',
              danger: true,
              order: { method: 'DELETE', path: `/nodes/delete/${seg(node.id)}` },
              force: {
                label: 'Also when containers are placed there: they move to other nodes first',
                query: { force: 'true' },
              },
              done: `${node.name} is being unmounted`,
              then: () => go(['nodes']),
            })}
        >
          Unmount
        </button>
      `}
    >
      ${node.name}
    <//>
    ${
      edit && !off
        ? html`<section class="panel">
          <h2>Edit</h2>
          <${Form}
            schema="NodeInput"
            row=${node}
            first=${['name', 'endpoint', 'labels', 'capacity']}
            also=${{ d_ipaddr: 'endpoint', d_port: 'endpoint' }}
            verb="Save"
            order=${(body) => ({
              method: 'PATCH',
              path: `/nodes/update/${seg(node.id)}`,
              body,
            })}
            done=${(row) => {
              toast(`${row.name} is so now`);
              go(['nodes', row.name]);
            }}
            cancel=${() => go(['nodes', node.name])}
          />
        </section>`
        : html`<${Tabs}
          tabs=${{
            '': ['Overview', () => html`<${Overview} node=${node} />`],
            why: ['Why', () => html`<${Why} kind="nodes" id=${node.id} stamp=${node.seq} />`],
            history: [
              'History',
              () => html`<${History} kind="nodes" id=${node.id} stamp=${node.seq} />`,
            ],
          }}
        />`
    }
  `;
}

function Overview({ node }) {
  const world = shown.value;
  world.card(node.id).value;
  const rows = [...(world.byNode.get(node.id)?.values() ?? [])].sort(byName);
  const engine = node.engine;
  return html`<div class="columns">
    <section class="panel">
      <h2>Node</h2>
      <${Facts}>
        <${Fact} name="Endpoint">
          <code>${node.endpoint}</code>
        <//>
        <${Fact} name="Containers">
          ${node.container_count}
          ${node.capacity ? ` of ${node.capacity}` : ', no limit'}
        <//>
        <${Fact} name="Labels">${labelsText(node.labels) || 'none'}<//>
        ${node.user_id && html`<${Fact} name="Belongs to">${node.user_id}<//>`}
        <${Fact} name="Engine">
          ${
            engine
              ? `${engine.kind} ${engine.version} (API ${engine.api_version})`
              : 'has not answered yet'
          }
        <//>
        ${
          engine &&
          html`<${Fact} name="Machine">
            ${engine.cpus} cpus, ${bytes(engine.memory_bytes)}, ${engine.platform}
          <//>`
        }
        <${Fact} name="Last change">
          <a href=${to(['events', node.seq])}>event ${node.seq}</a>
        <//>
        <${Fact} name="Id">
          <code>${node.id}</code>
        <//>
      <//>
    </section>
    <section class="panel">
      <h2>${count(rows.length, 'container')}</h2>
      <${ContainerTiles} rows=${rows} empty="None is placed here." />
    </section>
  </div>`;
}

export function ContainerTiles({ rows, empty }) {
  if (!rows.length) return html`<p class="faint">${empty}</p>`;
  return html`<ul class="tiles is-names is-flow">
    ${rows.slice(0, 500).map(
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
    ${rows.length > 500 && html`<li class="faint">and ${rows.length - 500} more</li>`}
  </ul>`;
}

function Mount() {
  return html`
    <${Title} sub="A machine with a Docker engine. Nothing is installed on it.">
      Mount a node
    <//>
    <section class="panel">
      ${
        readOnly.value
          ? html`<p class="note">What is shown is read-only: go back to now to change something.</p>`
          : html`<${MountForm}
            done=${(row) => {
              toast(`${row.name} is mounted`);
              go(['nodes', row.name]);
            }}
            cancel=${() => go(['nodes'])}
          />`
      }
    </section>
  `;
}

/** Something that is not there (any more, or yet): what happened to it may still be told. */
export function Gone({ kind, which }) {
  return html`
    <${Title} sub=${`There is no ${kind} of this name or id at this moment.`}>${which}<//>
    <section class="panel">
      <h2>History</h2>
      <${History} kind=${`${kind}s`} id=${which} stamp=${0} />
    </section>
  `;
}
