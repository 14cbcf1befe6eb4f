// An empty cluster: what to do first.
// @ts-check

/** @import { NodeRow } from '../types.js' */

import { html } from '../html.js';
import { to } from '../router.js';
import { readOnly } from '../time.js';
import { ReadOnly } from './bits.js';
import { MountForm } from './mount.js';
import { toast } from './toast.js';

export function FirstSteps() {
  const done = (/** @type {NodeRow} */ row) => toast(`Mounted ${row.name}`);
  return html`<div class="first-steps">
    <h1 tabindex="-1" id="title">An empty cluster</h1>
    <p class="sub">
      kDaemon runs your containers on plain Docker machines and remembers everything. Connect your
      first machine.
    </p>
    <ol>
      <li class="is-current">
        <h2>Mount a node</h2>
        <p>
          A node is a machine with a Docker engine. Nothing is installed on it: kDaemon uses the
          engine's own API.
        </p>
        ${readOnly.value ? html`<${ReadOnly} />` : html`<${MountForm} done=${done} />`}
      </li>
      <li>
        <h2>Add an application</h2>
        <p>
          An image with its settings. You can${' '}
          <a href=${to(['applications', 'new'])}>add one now</a>.
        </p>
      </li>
      <li>
        <h2>Launch containers</h2>
        <p>
          Choose how many. The daemon places them, watches them, and moves them when a node fails.
        </p>
      </li>
    </ol>
  </div>`;
}
