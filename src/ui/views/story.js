// How a thing came to be as it is: the chain of causes (why), and all that happened to it (history).

import { html, useState } from '../html.js';
import { read, seg } from '../api.js';
import { to } from '../router.js';
import { past, shown } from '../time.js';
import {
  actorName,
  clock,
  day,
  groupOf,
  isSecret,
  MASK,
  moment,
  say,
  variables,
} from '../words.js';
import { Ago, Busy, Failure, useLoad, useSettled } from '../parts/bits.js';

/** Why a node or a container is as it is, at the moment that is shown. */
export function Why({ kind, id, stamp }) {
  const seq = past.value?.seq ?? null;
  const settled = useSettled(seq ? 0 : stamp, 200);
  const { data, problem, busy } = useLoad(
    (abort) => read(`/why/${kind}/${seg(id)}`, { seq }, abort),
    [kind, id, seq, settled],
  );
  if (problem)
    return html`<section class="panel">
      <${Failure} problem=${problem} what="the chain of causes (why)" />
      ${
        problem.isMissingRoute &&
        html`<p>
          The <a href=${to([kind, id], { view: 'history' })}>history</a> has all that
          happened to it.
        </p>`
      }
    </section>`;
  if (!data) return html`<${Busy}>Following the causes …<//>`;
  return html`<section class="panel why" aria-busy=${busy}>
    <div class="story">
      ${data.sentences.map(
        (sentence, index) => html`<p key=${index}>
          <${Linked} text=${sentence} />
        </p>`,
      )}
    </div>
    <h2>
      Step by step <span class="faint">newest first</span>
    </h2>
    <ol class="chain">
      ${data.steps.map(
        (
          step,
        ) => html`<li key=${step.seq} id=${`step-${step.seq}`} class=${`mark-${groupOf(step)}`}>
          <span class="when">
            <a href=${to(['events', step.seq])} title=${moment(step.at)}>
              #${step.seq}
            </a>${' '}
            <time datetime=${step.at}>${clock(step.at, true)}</time>
          </span>
          <span class="what">
            ${step.says}
            <span class="faint">
              ${' '}
              ${step.kind}, ${actorName(step.actor)}
            </span>
            ${
              step.because?.length > 0 &&
              html`<span class="because">
                because of${' '}
                ${step.because.map(
                  (one, index) => html`
                    ${index > 0 && ', '}
                    <a key=${one} href=${to(['events', one])}>
                      #${one}
                    </a>
                  `,
                )}
              </span>`
            }
          </span>
        </li>`,
      )}
    </ol>
  </section>`;
}

/** A sentence in which `event 812` is a link to it. */
function Linked({ text }) {
  return text.split(/(event \d+)/).map((part) => {
    const found = part.match(/^event (\d+)$/);
    return found ? html`<a href=${to(['events', found[1]])}>${part}</a>` : part;
  });
}

const NEWEST = 200;

/** All that happened to a thing, newest first, with what each event changed. */
export function History({ kind, id, stamp }) {
  const settled = useSettled(stamp, 500);
  const [all, setAll] = useState(false);
  const { data, problem } = useLoad(
    (abort) => read(`/history/${kind}/${seg(id)}`, {}, abort),
    [kind, id, settled],
  );
  if (problem) return html`<${Failure} problem=${problem} what="histories" />`;
  if (!data) return html`<${Busy}>Reading its history …<//>`;
  const until = past.value?.seq ?? Infinity;
  const events = data.events.filter((event) => event.seq <= until).reverse();
  return html`<section class="panel">
    <h2>
      What happened to ${data.name} <span class="faint">newest first</span>
    </h2>
    ${data.next && html`<p class="note">Its first 10,000 events; there are more.</p>`}
    <ol class="chain">
      ${(all ? events : events.slice(0, NEWEST)).map(
        (event) => html`<li key=${event.seq} class=${`mark-${groupOf(event)}`}>
          <span class="when">
            <a href=${to(['events', event.seq])}>#${event.seq}</a>${' '}
            <time datetime=${event.at} title=${day(event.at)}>
              ${clock(event.at, true)}
            </time>
          </span>
          <span class="what">
            ${say(event, shown.value)}
            <span class="faint">
              ${' '}
              ${event.kind}, ${actorName(event.actor)}
              ${
                event.cause &&
                html`
                  , because of <a href=${to(['events', event.cause])}>#${event.cause}</a>
                `
              }
            </span>
            <${Changes} changes=${event.changes} />
          </span>
        </li>`,
      )}
    </ol>
    ${
      !all &&
      events.length > NEWEST &&
      html`<button type="button" onClick=${() => setAll(true)}>
        Show all ${events.length}
      </button>`
    }
  </section>`;
}

/** Fields with what they were and what they became. */
export function Changes({ changes }) {
  // What is empty at birth says nothing.
  const fields = Object.entries(changes ?? {}).filter(
    ([field, { from, to: became }]) => field !== 'id' && !(isEmpty(from) && isEmpty(became)),
  );
  if (!fields.length) return null;
  return html`<span class="changes">
    ${fields.slice(0, 12).map(
      ([field, { from, to: became }]) => html`<span key=${field}>
        <b>${field.replaceAll('_', ' ')}</b>${' '}
        ${
          !isEmpty(from) &&
          html`
            <del>${value(field, from)}</del>${' '}
            <span class="arrow">
              <span class="sr-only">became</span>
              <span aria-hidden="true">→</span>
            </span>${' '}
          `
        }
        <ins>${value(field, became)}</ins>
      </span>`,
    )}
    ${fields.length > 12 && html`<span class="faint">and ${fields.length - 12} more fields</span>`}
  </span>`;
}

const isEmpty = (given) =>
  given === null || given === undefined || given === '' || (Array.isArray(given) && !given.length);

function value(field, given) {
  if (isEmpty(given)) return 'nothing';
  if (field === 'node_id' || field === 'application_id')
    return (
      shown.peek().name(field === 'node_id' ? 'nodes' : 'applications', given) ??
      given.slice(0, 8) + '…'
    );
  if (field === 'env_variables')
    return variables(given)
      .map(([name, text]) => `${name}=${isSecret(name) ? MASK : text}`)
      .join(', ');
  const text = typeof given === 'object' ? JSON.stringify(given) : String(given);
  return text.length > 80 ? text.slice(0, 80) + '…' : text;
}

/** Since when a container is in its status: the time of its last change. */
export function Since({ row }) {
  const { data } = useLoad((abort) => read(`/events/${row.seq}`, {}, abort), [row.seq]);
  return data
    ? html`<span class="faint">
      since <${Ago} at=${data.at} />
    </span>`
    : null;
}
