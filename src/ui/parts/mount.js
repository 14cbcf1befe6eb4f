// The form that mounts a node.
// @ts-check

/** @import { NodeRow } from '../types.js' */

import { html } from '../html.js';
import { Form } from './form.js';

/** Refusals of the fields that clients of API 0.0 send are shown at the endpoint. */
export const SHOWN_AT_ENDPOINT = { d_ipaddr: 'endpoint', d_port: 'endpoint' };

/** @param {{done: (row: NodeRow) => void, cancel?: () => void}} props */
export function MountForm({ done, cancel }) {
  return html`<${Form}
    schema="NodeInput"
    first=${['endpoint', 'name']}
    also=${SHOWN_AT_ENDPOINT}
    verb="Mount"
    order=${(/** @type {object} */ body) => ({ path: '/nodes/create', body })}
    done=${done}
    cancel=${cancel}
  />`;
}
