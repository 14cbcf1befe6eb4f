// One field of a form, with its help or what is wrong with it.
// @ts-check

/** @import { Field } from '../pure/fields.js' */

import { html } from '../html.js';

/**
 * Text with `code` in it.
 * @param {{text: string | undefined}} props
 */
export function Help({ text }) {
  return (text ?? '')
    .split('`')
    .map((part, index) => (index % 2 ? html`<code key=${index}>${part}</code>` : part));
}

/**
 * @typedef {{
 *   field: Field,
 *   id: string,
 *   value: string,
 *   error: string | null,
 *   set: (text: string) => void,
 * }} Props  `id`: of the control, unique in the page
 */

/** @param {Props} props */
export function FormField({ field, id, value, error, set }) {
  const common = {
    id,
    name: field.path,
    value,
    autocomplete: 'off',
    spellcheck: false,
    'aria-describedby': `${id}-help`,
    'aria-invalid': error ? 'true' : 'false',
    /** @param {{currentTarget: HTMLInputElement}} event */
    onInput: ({ currentTarget }) => set(currentTarget.value),
  };
  const help = error
    ? html`<span class="error">${error}</span>`
    : html`<${Help} text=${field.help} />`;
  return html`<div class="field">
    <label for=${id}>${field.label}</label>
    <${Control} field=${field} common=${common} />
    <p id=${`${id}-help`} class="help">${help}</p>
  </div>`;
}

/** @param {{field: Field, common: object}} props */
function Control({ field, common }) {
  if (field.control === 'map') {
    return html`<textarea ...${common} rows="2" placeholder="One per line: NAME=value"></textarea>`;
  }
  if (field.control === 'flag') {
    return html`<select ...${common}>
      <option value="">Default</option>
      <option value="true">Yes</option>
      <option value="false">No</option>
    </select>`;
  }
  return html`<input ...${common} type="text" />`;
}
