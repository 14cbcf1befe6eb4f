// Commands ask first, and show what will happen: the events of a dry run, in words.
// @ts-check

/** @import { Event, Order, Query } from '../types.js' */

import { command, dryRun, Problem } from '../api.js';
import { html, signal, useEffect, useRef, useState } from '../html.js';
import { Busy, Failure } from './bits.js';
import { toast } from './toast.js';

/**
 * @typedef {{
 *   title: string,
 *   verb: string,
 *   danger?: boolean,
 *   order: Order,
 *   force?: {label: string, query: Query},
 *   done: string,
 *   then?: () => void,
 * }} Question  `verb`: the button; `force`: what can be ticked, and the query that it adds; `done`:
 * the
 *   message afterwards
 */

const asked = signal(/** @type {Question | null} */ (null));
/** How many events are listed. */
const LISTED = 50;

/**
 * Asks whether a command may be carried out.
 * @param {Question} question
 */
export function confirm(question) {
  asked.value = question;
}

export function Confirm() {
  const question = asked.value;
  const close = () => (asked.value = null);
  return question && html`<${Dialog} key=${question.title} question=${question} close=${close} />`;
}

/** @param {{question: Question, close: () => void}} props */
function Dialog({ question, close }) {
  const { title, verb, danger, force, done, then } = question;
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const [events, setEvents] = useState(/** @type {Event[] | null} */ (null));
  const [problem, setProblem] = useState(/** @type {Problem | null} */ (null));
  const [forced, setForced] = useState(false);
  const [busy, setBusy] = useState(false);
  /** @type {Order} */
  const order =
    forced && force
      ? { ...question.order, query: { ...question.order.query, ...force.query } }
      : question.order;

  useEffect(() => dialog.current?.showModal(), []);
  useEffect(() => {
    const abort = new AbortController();
    setEvents(null);
    setProblem(null);
    dryRun(order, abort.signal).then(
      setEvents,
      (error) => error instanceof Problem && setProblem(error),
    );
    return () => abort.abort();
  }, [forced]);

  const carryOut = async () => {
    setBusy(true);
    try {
      await command(order);
      toast(done);
      close();
      then?.();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      setProblem(error);
      setBusy(false);
    }
  };

  return html`<dialog ref=${dialog} class="dialog" aria-labelledby="confirm-title" onClose=${close}>
    <h2 id="confirm-title">${title}</h2>
    <div
      class="dialog-body"
      role="region"
      tabindex="0"
      aria-label="What will happen"
      aria-live="polite"
    >
      ${!events && !problem && html`<${Busy}>Checking what this will do …<//>`}
      ${problem && html`<${Failure} problem=${problem} what="this command" />`}
      ${events && html`<${Steps} events=${events} />`}
      ${force && html`<${Force} label=${force.label} checked=${forced} set=${setForced} />`}
    </div>
    <div class="dialog-buttons">
      <button type="button" onClick=${() => dialog.current?.close()}>Cancel</button>
      <button
        type="button"
        class=${danger ? 'danger' : 'primary'}
        disabled=${!events || busy}
        aria-busy=${busy}
        onClick=${carryOut}
      >
        ${busy ? 'Working…' : verb}
      </button>
    </div>
  </dialog>`;
}

/** @param {{events: Event[]}} props */
function Steps({ events }) {
  if (!events.length) return html`<p>No changes</p>`;
  const more = events.length - LISTED;
  return html`
    <p>This will happen:</p>
    <ol class="steps">
      ${events.slice(0, LISTED).map((event) => html`<li key=${event.seq}>${event.says}</li>`)}
    </ol>
    ${more > 0 && html`<p class="faint">… and ${more} more</p>`}
  `;
}

/** @param {{label: string, checked: boolean, set: (checked: boolean) => void}} props */
function Force({ label, checked, set }) {
  /** @param {{currentTarget: HTMLInputElement}} event */
  const change = ({ currentTarget }) => set(currentTarget.checked);
  return html`<label class="check">
    <input type="checkbox" checked=${checked} onChange=${change} />${' '}${label}
  </label>`;
}
