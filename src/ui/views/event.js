// One event: what it says, what it answers, and what came of it.

import { html } from '../html.js';
import { read } from '../api.js';
import { to } from '../router.js';
import { shown, travel } from '../time.js';
import {
  FACTS,
  actorName,
  clock,
  groupOf,
  learnNames,
  masked,
  moment,
  namesKnown,
  say,
} from '../words.js';
import { Busy, Fact, Facts, Failure, Title, useLoad } from '../parts/bits.js';
import { Subjects } from './events.js';

/** So far behind an event its effects are looked for. */
const EFFECTS_WITHIN = 2000;
const CAUSES = 20;

async function load(seq, abort) {
  const event = await read(`/events/${seq}`, {}, abort);
  const causes = [];
  for (let cause = event.cause; cause && causes.length < CAUSES;) {
    const one = await read(`/events/${cause}`, {}, abort);
    causes.push(one);
    cause = one.cause;
  }
  const after = await read(
    '/events',
    { after: seq, limit: EFFECTS_WITHIN, kind: FACTS.join(',') },
    abort,
  );
  const effects = after.events.filter((one) => one.cause === event.seq);
  learnNames([...causes, event, ...effects]);
  return { event, causes, effects };
}

export function EventPage({ seq }) {
  const { data, problem } = useLoad((abort) => load(seq, abort), [seq]);
  namesKnown.value;
  if (problem)
    return html`
      <${Title}>Event ${seq}<//>
      <section class="panel">
        <${Failure} problem=${problem} what="events" />
      </section>
    `;
  if (!data) return html`<${Busy}>Reading event ${seq} …<//>`;
  const { event, causes, effects } = data;
  const world = shown.value;
  const number = Number(seq);
  return html`
    <${Title}
      sub=${say(event, world)}
      actions=${html`
        <button type="button" onClick=${() => travel({ seq: number })}>
          Show the cluster then
        </button>
        <a
          class="button"
          aria-label="The event before"
          aria-disabled=${number <= 1}
          href=${to(['events', Math.max(1, number - 1)])}
        >
          ◂
        </a>
        <a class="button" aria-label="The event after" href=${to(['events', number + 1])}>
          ▸
        </a>
      `}
    >
      Event ${seq}
    <//>
    <div class="columns">
      <section class="panel">
        <h2>${event.kind}</h2>
        <${Facts}>
          <${Fact} name="When">
            ${moment(event.at)}.${clock(event.at, true).split('.')[1]}
          <//>
          <${Fact} name="By">
            ${actorName(event.actor)} <span class="faint">(${event.actor.type})</span>
          <//>
          <${Fact} name="About">
            <${Subjects} event=${event} />
          <//>
          ${
            event.request_id &&
            html`<${Fact} name="Request">
              <code>${event.request_id}</code>
            <//>`
          }
          <${Fact} name="Id">
            <code>${event.id}</code>
          <//>
        <//>
        <h3>Data</h3>
        <pre class="output is-wrapped" tabindex="0" aria-label="The event's data">
          ${JSON.stringify(masked(event.data), null, 2)}
        </pre>
      </section>
      <section class="panel">
        <h2>Because of</h2>
        ${causes.length ? html`<${Chain} events=${causes} world=${world} />` : html`<p class="faint">Nothing before it: it began here.</p>`}
        <h2>What came of it</h2>
        ${effects.length ? html`<${Chain} events=${effects} world=${world} />` : html`<p class="faint">Nothing that names it as its cause.</p>`}
      </section>
    </div>
  `;
}

function Chain({ events, world }) {
  return html`<ol class="chain">
    ${events.slice(0, 200).map(
      (event) => html`<li key=${event.seq} class=${`mark-${groupOf(event)}`}>
        <span class="when">
          <a href=${to(['events', event.seq])}>#${event.seq}</a>${' '}
          <time datetime=${event.at}>${clock(event.at, true)}</time>
        </span>
        <span class="what">
          ${say(event, world)}${' '}
          <span class="faint">
            ${event.kind}, ${actorName(event.actor)}
          </span>
        </span>
      </li>`,
    )}
  </ol>`;
}
