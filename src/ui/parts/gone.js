// The page of something that does not exist at this moment. Its history may still be known.
// @ts-check

import { html } from '../html.js';
import { Title } from './bits.js';
import { History } from './history.js';

/** @param {{kind: 'node' | 'application' | 'container', which: string}} props */
export function Gone({ kind, which }) {
  return html`
    <${Title} sub=${`No ${kind} has this name or ID at this moment.`}>${which}<//>
    <${History} kind=${`${kind}s`} id=${which} stamp=${0} />
  `;
}
