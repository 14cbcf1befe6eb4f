// Forms built on the API's own description: its fields, its help, and its refusals shown at the field they are about. While one
// types, the daemon is asked by dry runs whether it would take it.

import { html, useEffect, useMemo, useRef, useState } from '../html.js';
import { command, description, dryRun, loadDescription, Problem, schema } from '../api.js';
import { shown } from '../time.js';
import { learnNames, say, variables } from '../words.js';
import { Busy, Failure, useSettled } from './bits.js';

/** Text with `code` in it. */
export function Help({ text }) {
  return String(text ?? '')
    .split('`')
    .map((part, index) => (index % 2 ? html`<code>${part}</code>` : part));
}

/** The fields of a schema, those of objects in it by their path: [{path, label, help, control, group}]. */
function fieldsOf(name) {
  const { follow, root } = schema(name);
  const fields = [];
  const add = (properties, before, group) => {
    for (const [key, given] of Object.entries(properties ?? {})) {
      const whole = follow(given.oneOf?.find((one) => one.$ref) ?? given);
      const type = (given.oneOf?.find((one) => one.$ref) ?? given).$ref?.split('/').pop();
      const path = before ? `${before}.${key}` : key;
      const types = [].concat(whole.type ?? []);
      if (whole.properties) {
        add(whole.properties, path, { name: key, help: whole.description });
        continue;
      }
      const isMap = whole.additionalProperties || type === 'Variables';
      // An object that nothing is known about has no form.
      if (types.includes('object') && !isMap) continue;
      const isFlag = types.includes('boolean') || type === 'Flag' || type === 'Balance';
      const control = isMap ? 'map' : isFlag ? 'flag' : type === 'Words' ? 'words' : 'text';
      fields.push({
        path,
        label: key.replaceAll('_', ' '),
        help: whole.description,
        control,
        group,
      });
    }
  };
  add(root?.properties, '', null);
  return fields;
}

const plainWord = /^[^\s"'\\,[]+$/;

/** A row's value as it is typed. */
function typed(field, row) {
  let value = field.path.split('.').reduce((part, key) => part?.[key], row);
  if (value === null || value === undefined) return '';
  if (field.path === 'env_variables') value = Object.fromEntries(variables(value));
  if (field.control === 'map')
    return Object.entries(value)
      .map(([k, v]) => `${k}=${v}`)
      .join('\n');
  if (field.control === 'flag') return value ? 'true' : 'false';
  if (Array.isArray(value)) {
    const isCommand = /command|entrypoint/.test(field.path);
    return isCommand && !value.every((word) => plainWord.test(word))
      ? JSON.stringify(value)
      : value.join(isCommand ? ' ' : ', ');
  }
  return String(value);
}

/** What is typed, as the API reads it; an empty text resets. */
function meant(field, text) {
  if (text.trim() === '') return null;
  if (field.control === 'flag') return text === 'true';
  if (field.control === 'words' && text.trim().startsWith('[')) {
    try {
      return JSON.parse(text);
    } catch {
      return text;
    }
  }
  if (field.control !== 'map') return text.trim();
  const lines = text
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean);
  return Object.fromEntries(
    lines.map((line) =>
      line.includes('=')
        ? [line.slice(0, line.indexOf('=')).trim(), line.slice(line.indexOf('=') + 1)]
        : [line, ''],
    ),
  );
}

/** The body that the form stands for: only what differs from the row. An object of which one part changed goes whole. */
function bodyOf(fields, values, row) {
  const body = {};
  for (const field of fields) {
    const text = values[field.path] ?? '';
    if (text === typed(field, row) && !field.path.includes('.')) continue;
    const [top, key] = field.path.split('.');
    const value = meant(field, text);
    if (!key) {
      body[top] = value;
      continue;
    }
    const siblings = fields.filter((one) => one.path.startsWith(`${top}.`));
    if (siblings.every((one) => (values[one.path] ?? '') === typed(one, row))) continue;
    if (siblings.every((one) => !(values[one.path] ?? '').trim())) body[top] = null;
    else if (value !== null) body[top] = { ...body[top], [key]: value };
  }
  return body;
}

/**
 * @param {{schema: string, row?: object, first: string[], also?: Record<string, string>, verb: string, order: (body: object) => object,
 *   done: (row: object) => void, cancel?: () => void}} given  `first`: the fields that are always there; `also`: at which field a refusal
 *   of another one is shown.
 */
export function Form({
  schema: name,
  row = {},
  first,
  also = {},
  verb,
  order,
  done,
  cancel,
  initial = {},
}) {
  useEffect(() => void loadDescription().catch(() => {}), []);
  const fields = useMemo(
    () => (description.value ? fieldsOf(name) : []),
    [name, description.value],
  );
  const [values, setValues] = useState(null);
  const [touched, setTouched] = useState({});
  const [verdict, setVerdict] = useState({ events: null, problem: null });
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const form = useRef();

  useEffect(() => {
    if (fields.length && !values)
      setValues({
        ...Object.fromEntries(fields.map((field) => [field.path, typed(field, row)])),
        ...initial,
      });
  }, [fields]);

  const body = values ? bodyOf(fields, values, row) : {};
  const settled = useSettled(JSON.stringify(body), 250);
  useEffect(() => {
    if (!Object.keys(touched).length) return;
    const abort = new AbortController();
    dryRun(order(JSON.parse(settled)), abort.signal).then(
      (events) => {
        learnNames(events);
        setVerdict({ events, problem: null });
      },
      (error) => error instanceof Problem && setVerdict({ events: null, problem: error }),
    );
    return () => abort.abort();
  }, [settled]);

  if (!values) return html`<${Busy}>Reading what the daemon can take …<//>`;

  const at = (one) => {
    const path =
      one?.field && (one.field.split('[')[0] in values ? one.field.split('[')[0] : one.field);
    return also[path] && !touched[path] ? also[path] : path;
  };
  const errorOf = (path) => {
    // What is not typed yet is missing, not wrong: that is said when one is done.
    for (const one of [problem, touched[path] ? verdict.problem : null]) {
      const where = at(one);
      if (
        where &&
        (where === path ||
          path.startsWith(`${where}.`) ||
          (where.startsWith(path) && !(where in values)))
      )
        return one.message;
    }
    return null;
  };
  const general = problem && !(at(problem) in values) ? problem : null;

  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    try {
      done((await command(order(body))).row);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      setProblem(error);
      setBusy(false);
      setTimeout(() => form.current?.querySelector('[aria-invalid=true]')?.focus());
    }
  };
  const show = (path) => {
    const field = fields.find((one) => one.path === path);
    return (
      field &&
      html`<${Field}
        key=${path}
        field=${field}
        form=${name}
        value=${values[path]}
        error=${errorOf(path)}
        set=${(text) => {
          setTouched({ ...touched, [path]: true });
          setProblem(null);
          setValues({ ...values, [path]: text });
        }}
      />`
    );
  };
  const rest = fields.filter((field) => !first.includes(field.path));
  const isSure = verdict.events && !problem && settled === JSON.stringify(body);
  return html`<form ref=${form} class="form" onSubmit=${submit} novalidate>
    ${first.map(show)}
    ${
      rest.length > 0 &&
      html`<details open=${rest.some((field) => errorOf(field.path)) || undefined}>
        <summary>More settings</summary>
        ${rest.map((field) => show(field.path))}
      </details>`
    }
    <div class="verdict" aria-live="polite">
      ${general && html`<${Failure} problem=${general} what="this" />`}
      ${
        isSure &&
        html`<p class="is-good">
          ${
            verdict.events.length
              ? verdict.events.map((event) => say(event, shown.value)).join('; ')
              : 'Nothing would change'
          }
        </p>`
      }
    </div>
    <div class="buttons">
      <button class="primary" disabled=${busy} aria-busy=${busy}>
        ${busy ? 'Doing it …' : verb}
      </button>
      ${
        cancel &&
        html`<button type="button" onClick=${cancel}>
          Cancel
        </button>`
      }
    </div>
  </form>`;
}

function Field({ field, form, value, error, set }) {
  const id = `${form}-${field.path}`;
  const common = {
    id,
    name: field.path,
    value,
    autocomplete: 'off',
    spellcheck: false,
    'aria-describedby': `${id}-help`,
    'aria-invalid': error ? 'true' : 'false',
    onInput: (event) => set(event.target.value),
  };
  const control =
    field.control === 'map'
      ? html`<textarea ...${common} rows="2" placeholder="NAME=value, one in each line"></textarea>`
      : field.control === 'flag'
        ? html`<select ...${common}>
          <option value="">as the daemon is set</option>
          <option value="true">yes</option>
          <option value="false">no</option>
        </select>`
        : html`<input ...${common} type="text" />`;
  return html`<div class="field">
    <label for=${id}>
      ${field.group ? `${field.group.name.replaceAll('_', ' ')}: ${field.label}` : field.label}
    </label>
    ${control}
    <p id=${`${id}-help`} class="help">
      ${error ? html`<span class="error">${error}</span>` : html`<${Help} text=${field.help} />`}
    </p>
  </div>`;
}
