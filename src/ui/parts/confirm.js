// Commands that change something ask first, and show what would be recorded: the events of a dry run, in words.

import { html, signal, useEffect, useRef, useState } from '../html.js';
import { command, dryRun, Problem } from '../api.js';
import { shown } from '../time.js';
import { learnNames, say } from '../words.js';
import { Busy, Failure } from './bits.js';
import { toast } from './toast.js';

const asked = signal(null);

/**
 * Asks whether a command may be carried out.
 * @param {{title: string, verb: string, danger?: boolean, order: {method?: string, path: string, query?: object, body?: object},
 *   force?: {label: string, query: object}, done?: string, then?: (answer: object) => void}} what
 */
export function confirm(what) {
  asked.value = what;
}

export function Confirm() {
  return (
    asked.value &&
    html`<${Asking}
      key=${asked.value.title}
      what=${asked.value}
      close=${() => (asked.value = null)}
    />`
  );
}

function Asking({ what, close }) {
  const dialog = useRef();
  const [events, setEvents] = useState(null);
  const [problem, setProblem] = useState(null);
  const [forced, setForced] = useState(false);
  const [busy, setBusy] = useState(false);
  const order = forced
    ? { ...what.order, query: { ...what.order.query, ...what.force.query } }
    : what.order;

  useEffect(() => dialog.current.showModal(), []);
  useEffect(() => {
    const abort = new AbortController();
    setEvents(null);
    setProblem(null);
    dryRun(order, abort.signal).then(
      (would) => {
        // What does not exist yet has its name in these events alone.
        learnNames(would);
        setEvents(would);
      },
      (error) => error instanceof Problem && setProblem(error),
    );
    return () => abort.abort();
  }, [forced]);

  const carryOut = async () => {
    setBusy(true);
    try {
      const answer = await command(order);
      toast(what.done ?? `${what.title.replace('?', '')}: done`);
      close();
      what.then?.(answer);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      setProblem(error);
      setBusy(false);
    }
  };

  return html`<dialog ref=${dialog} class="dialog" aria-labelledby="confirm-title" onClose=${close}>
    <h2 id="confirm-title">${what.title}</h2>
    <div
      class="dialog-body"
      role="region"
      tabindex="0"
      aria-label="What would happen"
      aria-live="polite"
    >
      ${!events && !problem && html`<${Busy}>Asking the daemon what this would do …<//>`}
      ${problem && html`<${Failure} problem=${problem} what="this" />`}
      ${
        events &&
        (events.length
          ? html`
            <p>This is what would be recorded:</p>
            <ol class="steps">
              ${events.slice(0, 50).map((event) => html`<li key=${event.seq}>${say(event, shown.value)}</li>`)}
            </ol>
            ${events.length > 50 && html`<p class="faint">… and ${events.length - 50} more.</p>`}
          `
          : html`<p>Nothing would change: it is so already.</p>`)
      }
      ${
        what.force &&
        html`<label class="check">
          <input
            type="checkbox"
            checked=${forced}
            onChange=${(e) => setForced(e.target.checked)}
          />${' '}
          ${what.force.label}
        </label>`
      }
    </div>
    <div class="dialog-buttons">
      <button type="button" onClick=${() => dialog.current.close()}>
        Cancel
      </button>
      <button
        type="button"
        class=${what.danger ? 'danger' : 'primary'}
        disabled=${!events || busy}
        aria-busy=${busy}
        onClick=${carryOut}
      >
        ${busy ? 'Doing it …' : what.verb}
      </button>
    </div>
  </dialog>`;
}
