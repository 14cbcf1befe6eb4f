// The page of one node, and the form that mounts one.
// @ts-check

/** @import { NodeRow } from '../types.js' */

import { seg } from '../api.js';
import { html } from '../html.js';
import { Fact, Facts, ReadOnly, Status, Title } from '../parts/bits.js';
import { confirm } from '../parts/confirm.js';
import { Form } from '../parts/form.js';
import { Gone } from '../parts/gone.js';
import { History } from '../parts/history.js';
import { useChanged } from '../parts/hooks.js';
import { MountForm, SHOWN_AT_ENDPOINT } from '../parts/mount.js';
import { Tabs } from '../parts/tabs.js';
import { ContainerTiles } from '../parts/tiles.js';
import { toast } from '../parts/toast.js';
import { Why } from '../parts/why.js';
import { bytes, count, labelsText } from '../pure/format.js';
import { byName } from '../pure/sorting.js';
import { go, route, to } from '../router.js';
import { readOnly, shown } from '../time.js';

/** The fields of the form that are always in sight. */
const FIRST = ['name', 'endpoint', 'labels', 'capacity'];

/** @param {{which: string}} props  `which`: its name or its id; `new` for the form */
export function NodePage({ which }) {
  const world = shown.value;
  useChanged(() => shown.value.changed.nodes.value, 150);
  if (which === 'new') return html`<${Mount} />`;
  const node = world.find('nodes', which);
  if (!node) return html`<${Gone} kind="node" which=${which} />`;
  const isEditing = route.value.query.get('edit') && !readOnly.value;
  const { id, seq } = node;
  const sub = html`
    <${Status} value=${node.state} />${' '}
    ${node.availability !== 'active' && html`<span class="tag">${node.availability}</span>`}
    ${node.reason && html`<span class="reason"> ${node.reason}</span>`}
  `;
  return html`
    <${Title} sub=${sub} actions=${html`<${Actions} node=${node} />`}>${node.name}<//>
    ${
      isEditing
        ? html`<${Edit} node=${node} />`
        : html`<${Tabs}
            tabs=${{
              '': ['Overview', () => html`<${Overview} node=${node} />`],
              why: ['Why', () => html`<${Why} kind="nodes" id=${id} stamp=${seq} />`],
              history: ['History', () => html`<${History} kind="nodes" id=${id} stamp=${seq} />`],
            }}
          />`
    }
  `;
}

/** @param {{node: NodeRow}} props */
function Actions({ node }) {
  const off = readOnly.value;
  /** @param {string} verb */
  const order = (verb) => ({ path: `/nodes/${verb}/${seg(node.id)}` });
  const cordon = () =>
    confirm({
      title: `Cordon ${node.name}?`,
      verb: 'Cordon',
      order: order('cordon'),
      done: `Cordoned ${node.name}`,
    });
  const uncordon = () =>
    confirm({
      title: `Resume scheduling on ${node.name}?`,
      verb: 'Resume',
      order: order('uncordon'),
      done: `Resumed scheduling on ${node.name}`,
    });
  const drain = () =>
    confirm({
      title: `Drain ${node.name}?`,
      verb: 'Drain',
      order: order('drain'),
      done: `Draining ${node.name}`,
    });
  const unmount = () =>
    confirm({
      title: `Unmount ${node.name}?`,
      verb: 'Unmount',
      danger: true,
      order: { method: 'DELETE', path: `/nodes/delete/${seg(node.id)}` },
      force: { label: 'Move its containers to other nodes first', query: { force: 'true' } },
      done: `Unmounting ${node.name}`,
      then: () => go(['nodes']),
    });
  const isActive = node.availability === 'active';
  return html`
    <button type="button" disabled=${off} onClick=${isActive ? cordon : uncordon}>
      ${isActive ? 'Cordon' : 'Resume scheduling'}
    </button>
    <button
      type="button"
      disabled=${off || node.availability === 'draining'}
      onClick=${drain}
    >
      Drain
    </button>
    <a class="button" aria-disabled=${off} href=${to(['nodes', node.name], { edit: 1 })}>Edit</a>
    <button type="button" class="danger" disabled=${off} onClick=${unmount}>Unmount</button>
  `;
}

/** @param {{node: NodeRow}} props */
function Edit({ node }) {
  /** @param {object} body */
  const order = (body) => ({ method: 'PATCH', path: `/nodes/update/${seg(node.id)}`, body });
  /** @param {NodeRow} row */
  const done = (row) => {
    toast(`Saved ${row.name}`);
    go(['nodes', row.name]);
  };
  return html`<section class="panel">
    <h2>Edit</h2>
    <${Form}
      schema="NodeInput"
      row=${node}
      first=${FIRST}
      also=${SHOWN_AT_ENDPOINT}
      verb="Save"
      order=${order}
      done=${done}
      cancel=${() => go(['nodes', node.name])}
    />
  </section>`;
}

/** @param {{node: NodeRow}} props */
function Overview({ node }) {
  const world = shown.value;
  world.card(node.id).value;
  const rows = [...(world.byNode.get(node.id)?.values() ?? [])].sort(byName);
  const { engine } = node;
  return html`<div class="columns">
    <section class="panel">
      <h2>Node</h2>
      <${Facts}>
        <${Fact} name="Endpoint"><code>${node.endpoint}</code><//>
        <${Fact} name="Containers">
          ${node.container_count}${node.capacity ? ` of ${node.capacity}` : ', no limit'}
        <//>
        <${Fact} name="Labels">${labelsText(node.labels) || 'none'}<//>
        ${node.user_id && html`<${Fact} name="Owner">${node.user_id}<//>`}
        <${Fact} name="Engine">
          ${engine ? `${engine.kind} ${engine.version} (API ${engine.api_version})` : 'unknown'}
        <//>
        ${
          engine &&
          html`<${Fact} name="Machine">
            ${engine.cpus} CPUs, ${bytes(engine.memory_bytes)}, ${engine.platform}
          <//>`
        }
        <${Fact} name="Last change">
          <a href=${to(['events', String(node.seq)])}>event ${node.seq}</a>
        <//>
        <${Fact} name="ID"><code>${node.id}</code><//>
      <//>
    </section>
    <section class="panel">
      <h2>${count(rows.length, 'container')}</h2>
      <${ContainerTiles} rows=${rows} />
    </section>
  </div>`;
}

function Mount() {
  /** @param {NodeRow} row */
  const done = (row) => {
    toast(`Mounted ${row.name}`);
    go(['nodes', row.name]);
  };
  const form = html`<${MountForm} done=${done} cancel=${() => go(['nodes'])} />`;
  return html`
    <${Title} sub="A machine with a Docker engine. Nothing is installed on it.">Mount a node<//>
    <section class="panel">${readOnly.value ? html`<${ReadOnly} />` : form}</section>
  `;
}
