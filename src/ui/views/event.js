// One event: what it says, what caused it, and what it led to.
// @ts-check

/** @import { Event, EventPage as Page } from '../types.js' */

import { read } from '../api.js';
import { html } from '../html.js';
import { learnNames, namesKnown } from '../names.js';
import { Busy, Fact, Facts, Failure, Subjects, Title } from '../parts/bits.js';
import { Chain } from '../parts/chain.js';
import { useLoad } from '../parts/hooks.js';
import { FACTS, actorName, groupOf } from '../pure/events.js';
import { moment } from '../pure/format.js';
import { masked } from '../pure/variables.js';
import { to } from '../router.js';
import { travel } from '../time.js';

/** How many events after it are searched for its effects. */
const EFFECTS_WITHIN = 2000;
/** How many causes and effects are shown. */
const CAUSES = 20;
const EFFECTS = 200;

/**
 * @param {string} seq
 * @param {AbortSignal} abort
 */
async function load(seq, abort) {
  /** @type {Event} */
  const event = await read(`/events/${seq}`, {}, abort);
  /** @type {Event[]} */
  const causes = [];
  for (let cause = event.cause; cause && causes.length < CAUSES;) {
    /** @type {Event} */
    const one = await read(`/events/${cause}`, {}, abort);
    causes.push(one);
    cause = one.cause;
  }
  const query = { after: seq, limit: EFFECTS_WITHIN, kind: FACTS.join(',') };
  /** @type {Page} */
  const after = await read('/events', query, abort);
  const effects = after.events.filter((one) => one.cause === event.seq);
  learnNames([...causes, event, ...effects]);
  return { event, causes, effects };
}

/** @param {{seq: string}} props */
export function EventPage({ seq }) {
  const { data, problem } = useLoad((abort) => load(seq, abort), [seq]);
  namesKnown.value;
  if (problem) {
    return html`
      <${Title}>Event ${seq}<//>
      <section class="panel"><${Failure} problem=${problem} what="events" /></section>
    `;
  }
  if (!data) return html`<${Busy}>Loading event ${seq} …<//>`;
  const { event, causes, effects } = data;
  const number = Number(seq);
  return html`
    <${Title} sub=${event.says} actions=${html`<${Actions} seq=${number} />`}>
      Event ${seq}
    <//>
    <div class="columns">
      <section class="panel">
        <h2>${event.kind}</h2>
        <${Facts}>
          <${Fact} name="When">${moment(event.at, true)}<//>
          <${Fact} name="By"><${By} event=${event} /><//>
          <${Fact} name="About"><${Subjects} event=${event} /><//>
          ${event.request_id && html`<${Fact} name="Request"><code>${event.request_id}</code><//>`}
          <${Fact} name="ID"><code>${event.id}</code><//>
        <//>
        <h3>Data</h3>
        <pre class="output is-wrapped" tabindex="0" aria-label="The event's data">
          ${JSON.stringify(masked(event.data), null, 2)}
        </pre>
      </section>
      <section class="panel">
        <h2>Caused by</h2>
        <${Events} events=${causes} none="Nothing: the chain of causes starts here" />
        <h2>Led to</h2>
        <${Events} events=${effects} none="Nothing" />
      </section>
    </div>
  `;
}

/** @param {{event: Event}} props */
function By({ event: { actor } }) {
  const name = actorName(actor);
  return html`${name}${name !== actor.type && html` <span class="faint">(${actor.type})</span>`}`;
}

/** @param {{seq: number}} props */
function Actions({ seq }) {
  return html`
    <button type="button" onClick=${() => travel({ seq })}>Show the cluster then</button>
    <a
      class="button"
      aria-label="Previous event"
      aria-disabled=${seq <= 1}
      href=${to(['events', String(Math.max(1, seq - 1))])}
    >
      ◂
    </a>
    <a class="button" aria-label="Next event" href=${to(['events', String(seq + 1)])}>▸</a>
  `;
}

/** @param {{events: Event[], none: string}} props */
function Events({ events, none }) {
  if (!events.length) return html`<p class="faint">${none}</p>`;
  const items = events.slice(0, EFFECTS).map((event) => ({
    seq: event.seq,
    at: event.at,
    group: groupOf(event),
    says: event.says,
    note: `${event.kind}, ${actorName(event.actor)}`,
  }));
  return html`<${Chain} items=${items} />`;
}
