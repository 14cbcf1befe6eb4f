// Fields with their values before and after.
// @ts-check

/** @import { Changes as FieldChanges } from '../types.js' */

import { html } from '../html.js';
import { shortId } from '../pure/format.js';
import { maskedVariables } from '../pure/variables.js';
import { shown } from '../time.js';

/** How many fields are shown, and how much of a value. */
const FIELDS = 12;
const LENGTH = 80;

/** @param {{changes: FieldChanges | undefined}} props */
export function Changes({ changes }) {
  const fields = Object.entries(changes ?? {}).filter(
    ([field, { from, to }]) => field !== 'id' && !(isEmpty(from) && isEmpty(to)),
  );
  if (!fields.length) return null;
  const more = fields.length - FIELDS;
  return html`<span class="changes">
    ${fields.slice(0, FIELDS).map(
      ([field, { from, to }]) => html`<span key=${field}>
        <b>${field.replaceAll('_', ' ')}</b>${' '}
        ${!isEmpty(from) && html`<${Before} text=${textOf(field, from)} />`}
        <ins>${textOf(field, to)}</ins>
      </span>`,
    )}
    ${more > 0 && html`<span class="faint">and ${more} more fields</span>`}
  </span>`;
}

/** @param {{text: string}} props */
function Before({ text }) {
  return html`
    <del>${text}</del>${' '}
    <span class="arrow">
      <span class="sr-only">became</span>
      <span aria-hidden="true">→</span>
    </span>
    ${' '}
  `;
}

/** @param {unknown} value */
function isEmpty(value) {
  if (value === null || value === undefined || value === '') return true;
  return typeof value === 'object' && Object.keys(value).length === 0;
}

/**
 * @param {string} field
 * @param {any} value
 */
function textOf(field, value) {
  if (isEmpty(value)) return 'nothing';
  const world = shown.peek();
  if (field === 'node_id') return world.name('nodes', value) ?? shortId(value);
  if (field === 'application_id') return world.name('applications', value) ?? shortId(value);
  if (field === 'env_variables') return maskedVariables(value, ', ');
  const text = typeof value === 'object' ? JSON.stringify(value) : String(value);
  return text.length > LENGTH ? `${text.slice(0, LENGTH)}…` : text;
}
