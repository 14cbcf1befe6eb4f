// Forms built on the API's own description: its fields, its help, and its refusals shown at the
// field that they are about. While the user types, dry runs tell whether the daemon will accept it.
// @ts-check

/** @import { Event, Order } from '../types.js' */
/** @import { Field, Values } from '../pure/fields.js' */

import { command, description, dryRun, loadDescription, Problem } from '../api.js';
import { html, useEffect, useMemo, useRef, useState } from '../html.js';
import { bodyOf, fieldsOf, typed } from '../pure/fields.js';
import { Busy, Failure } from './bits.js';
import { FormField } from './field.js';
import { useSettled } from './hooks.js';

/** How long typing rests before a dry run, in milliseconds. */
const REST_MS = 250;

/**
 * @typedef {{
 *   schema: string,
 *   row?: Record<string, any>,
 *   first: string[],
 *   also?: Record<string, string>,
 *   initial?: Values,
 *   verb: string,
 *   order: (body: object) => Order,
 *   done: (row: any) => void,
 *   cancel?: () => void,
 * }} Props  `first`: the fields that are always in sight; `also`: the field that shows the refusals
 * of
 *   another one; `initial`: what is filled in
 */

/** @typedef {{events: Event[] | null, problem: Problem | null}} Verdict */

/** @param {Props} props */
export function Form({
  schema,
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
  const known = description.value;
  const fields = useMemo(() => fieldsOf(known, schema), [schema, known]);
  const [values, setValues] = useState(/** @type {Values | null} */ (null));
  const [touched, setTouched] = useState(/** @type {Record<string, boolean>} */ ({}));
  const [verdict, setVerdict] = useState(/** @type {Verdict} */ ({ events: null, problem: null }));
  const [problem, setProblem] = useState(/** @type {Problem | null} */ (null));
  const [busy, setBusy] = useState(false);
  const form = useRef(/** @type {HTMLFormElement | null} */ (null));

  useEffect(() => {
    if (!fields.length || values) return;
    const present = fields.map((field) => [field.path, typed(field, row)]);
    setValues({ ...Object.fromEntries(present), ...initial });
  }, [fields]);

  const body = values ? bodyOf(fields, values, row) : {};
  const settled = useSettled(JSON.stringify(body), REST_MS);
  useEffect(() => {
    if (!Object.keys(touched).length) return;
    const abort = new AbortController();
    dryRun(order(JSON.parse(settled)), abort.signal).then(
      (events) => setVerdict({ events, problem: null }),
      (error) => error instanceof Problem && setVerdict({ events: null, problem: error }),
    );
    return () => abort.abort();
  }, [settled]);

  if (!values) return html`<${Busy}>Loading the form …<//>`;

  /** The path of the field that shows a problem. @param {Problem | null} one */
  const placeOf = (one) => {
    if (!one?.field) return null;
    const whole = one.field.split('[')[0];
    const path = whole in values ? whole : one.field;
    return also[path] && !touched[path] ? also[path] : path;
  };
  /** @param {string} path */
  const errorOf = (path) => {
    // A field that is not filled in yet is missing, not wrong: that is reported on submit.
    for (const one of [problem, touched[path] ? verdict.problem : null]) {
      const place = placeOf(one);
      if (!one || !place) continue;
      const isPart = place.startsWith(path) && !(place in values);
      if (place === path || path.startsWith(`${place}.`) || isPart) return one.message;
    }
    return null;
  };
  const general = problem && !((placeOf(problem) ?? '') in values) ? problem : null;

  /** @param {SubmitEvent} event */
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    try {
      done(await command(order(body)));
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      setProblem(error);
      setBusy(false);
      setTimeout(() => {
        /** @type {HTMLElement | null | undefined} */
        const wrong = form.current?.querySelector('[aria-invalid=true]');
        wrong?.focus();
      });
    }
  };
  /** @param {string} path */
  const set = (path) => (/** @type {string} */ text) => {
    setTouched({ ...touched, [path]: true });
    setProblem(null);
    setValues({ ...values, [path]: text });
  };
  /** @param {Field} field */
  const show = (field) => html`<${FormField}
    key=${field.path}
    field=${field}
    id=${`${schema}-${field.path}`}
    value=${values[field.path]}
    error=${errorOf(field.path)}
    set=${set(field.path)}
  />`;
  const main = first.flatMap((path) => fields.find((field) => field.path === path) ?? []);
  const rest = fields.filter((field) => !first.includes(field.path));
  const isCurrent = verdict.events && !problem && settled === JSON.stringify(body);
  return html`<form ref=${form} class="form" onSubmit=${submit} novalidate>
    ${main.map(show)}
    ${
      rest.length > 0 &&
      html`<details open=${rest.some((field) => errorOf(field.path)) || undefined}>
        <summary>More settings</summary>
        ${rest.map(show)}
      </details>`
    }
    <div class="verdict" aria-live="polite">
      ${general && html`<${Failure} problem=${general} what="this command" />`}
      ${isCurrent && html`<${Preview} events=${verdict.events} />`}
    </div>
    <div class="buttons">
      <button class="primary" disabled=${busy} aria-busy=${busy}>
        ${busy ? 'Saving…' : verb}
      </button>
      ${cancel && html`<button type="button" onClick=${cancel}>Cancel</button>`}
    </div>
  </form>`;
}

/**
 * What will happen, in words.
 * @param {{events: Event[]}} props
 */
function Preview({ events }) {
  const sentences = events.map((event) => event.says);
  return html`<p class="is-good">${sentences.join(' ') || 'No changes'}</p>`;
}
