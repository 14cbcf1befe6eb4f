// Fields of a form, from the API's own description of what it takes: what they show of a row, and
// what is typed as the API reads it.
// @ts-check

/** @import { Description, Schema } from '../types.js' */

import { commandText, listOf } from './health.js';
import { variables } from './variables.js';

/**
 * How a field is edited. `map`: a text of lines `NAME=value`; `flag`: default, yes or no; `words`:
 * a command, with spaces between its words; `check`: the command of a health check.
 * @typedef {'map' | 'flag' | 'words' | 'check' | 'text'} Control
 * @typedef {{
 *   path: string,
 *   label: string,
 *   help?: string,
 *   control: Control,
 * }} Field  `path`: its name, after that of the object that it is part of: `resources.cpus`
 * @typedef {Record<string, string>} Values  what is typed, by path
 */

/**
 * The hint of a schema that takes more than one type, by what `x-kdaemon-input` says.
 * @type {Record<string, Control>}
 */
const HINTS = {
  boolean: 'flag',
  'comma-separated': 'text',
  'health-command': 'check',
  map: 'map',
  'shell-words': 'words',
  text: 'text',
};
/**
 * Words of field names that people write otherwise.
 * @type {Record<string, string>}
 */
const SPELLED = { env: 'environment', cpus: 'CPUs', id: 'ID', tls: 'TLS' };

/**
 * The name of a field as a label: `env_variables` is `Environment variables`.
 * @param {string} key
 */
export function labelOf(key) {
  const text = key
    .split('_')
    .map((word) => SPELLED[word] ?? word)
    .join(' ');
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/**
 * A schema with references to others followed.
 * @param {Description | null} description
 * @param {Schema | undefined} part
 * @returns {Schema | undefined}
 */
export function follow(description, part) {
  if (!part?.$ref) return part;
  const name = part.$ref.split('/').pop() ?? '';
  const target = follow(description, description?.components?.schemas?.[name]);
  return { ...target, ...part, $ref: undefined };
}

/**
 * The schema of a field that may be null: what it is when it is not.
 * @param {Description | null} description
 * @param {Schema} given
 */
const present = (description, given) =>
  follow(description, given.oneOf?.find((one) => one.type !== 'null') ?? given) ?? given;

/**
 * The fields of a schema and of the objects in it.
 * @param {Description | null} description
 * @param {string} name of the schema
 * @returns {Field[]}
 */
export function fieldsOf(description, name) {
  /** @type {Field[]} */
  const fields = [];
  /**
   * @param {Record<string, Schema> | undefined} properties
   * @param {string | null} parent
   */
  const add = (properties, parent) => {
    for (const [key, given] of Object.entries(properties ?? {})) {
      const schema = present(description, given);
      if (schema.properties) {
        add(schema.properties, parent ? `${parent}.${key}` : key);
        continue;
      }
      const control = controlOf(schema, key);
      if (!control) continue;
      fields.push({
        path: parent ? `${parent}.${key}` : key,
        label: parent ? `${labelOf(parent)}: ${labelOf(key)}` : labelOf(key),
        help: schema.description,
        control,
      });
    }
  };
  add(follow(description, description?.components?.schemas?.[name])?.properties, null);
  return fields;
}

/**
 * How values of a schema are edited; null for an object of unknown form.
 * @param {Schema} schema
 * @param {string} key the name of the field
 * @returns {Control | null}
 */
function controlOf(schema, key) {
  const hint = HINTS[String(schema['x-kdaemon-input'])];
  if (hint) return hint;
  const types = new Set((schema.anyOf ?? [schema]).flatMap((one) => one.type ?? []));
  if (schema.additionalProperties || (types.has('object') && types.has('string'))) return 'map';
  if (types.has('object')) return null;
  if (types.has('boolean')) return 'flag';
  // A daemon without hints.
  return types.has('array') && /command|entrypoint/.test(key) ? 'words' : 'text';
}

const PLAIN_WORD = /^[^\s"'\\,[]+$/;

/**
 * The value of a row's field as it is typed.
 * @param {Field} field
 * @param {Record<string, any>} row
 * @returns {string}
 */
export function typed({ path, control }, row) {
  const value = path.split('.').reduce((/** @type {any} */ part, key) => part?.[key], row);
  if (value === null || value === undefined) return '';
  if (control === 'map') {
    const entries = typeof value === 'string' ? variables(value) : Object.entries(value);
    return entries.map(([name, text]) => `${name}=${text}`).join('\n');
  }
  if (control === 'flag') return value ? 'true' : 'false';
  if (!Array.isArray(value)) return String(value);
  if (control === 'check') return commandText(value);
  if (control !== 'words') return value.join(', ');
  return value.every((word) => PLAIN_WORD.test(word)) ? value.join(' ') : JSON.stringify(value);
}

/**
 * What is typed, as the API reads it; null (which resets a field) when it is empty.
 * @param {Field} field
 * @param {string} text
 */
function meant({ control }, text) {
  const trimmed = text.trim();
  if (trimmed === '') return null;
  if (control === 'flag') return trimmed === 'true';
  if (control === 'map') return Object.fromEntries(lines(text).map(entry));
  if (control === 'words' || control === 'check') return listOf(trimmed) ?? trimmed;
  return trimmed;
}

/** @param {string} text */
const lines = (text) =>
  text
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean);

/** @param {string} line */
function entry(line) {
  const at = line.indexOf('=');
  return at < 0 ? [line, ''] : [line.slice(0, at).trim(), line.slice(at + 1)];
}

/**
 * The body of the request: only what differs from the row. An object of which one part changed goes
 * whole, and is null once all its parts are empty.
 * @param {Field[]} fields
 * @param {Values} values
 * @param {Record<string, any>} row
 */
export function bodyOf(fields, values, row) {
  /** @type {Record<string, any>} */
  const body = {};
  /** @param {Field} field */
  const textOf = (field) => values[field.path] ?? '';
  for (const field of fields) {
    const [top, key] = field.path.split('.');
    if (!key) {
      if (textOf(field) !== typed(field, row)) body[top] = meant(field, textOf(field));
      continue;
    }
    const siblings = fields.filter((one) => one.path.startsWith(`${top}.`));
    if (siblings.every((one) => textOf(one) === typed(one, row))) continue;
    const value = meant(field, textOf(field));
    if (siblings.every((one) => !textOf(one).trim())) body[top] = null;
    else if (value !== null) body[top] = { ...body[top], [key]: value };
  }
  return body;
}
