// All that happened to a thing, newest first, with what each event changed.
// @ts-check

/** @import { History as Answer, Kind } from '../types.js' */

import { read, seg } from '../api.js';
import { html, useState } from '../html.js';
import { actorName, groupOf } from '../pure/events.js';
import { number } from '../pure/format.js';
import { to } from '../router.js';
import { past } from '../time.js';
import { Busy, Failure } from './bits.js';
import { Chain } from './chain.js';
import { Changes } from './changes.js';
import { useLoad, useSettled } from './hooks.js';

/** How many events are listed at first. */
const NEWEST = 200;

/** @param {{kind: Kind, id: string, stamp: number}} props  `stamp`: changes when the thing does */
export function History({ kind, id, stamp }) {
  const settled = useSettled(stamp, 500);
  const [all, setAll] = useState(false);
  const { data, problem } = useLoad(
    /** @returns {Promise<Answer>} */
    (abort) => read(`/history/${kind}/${seg(id)}`, {}, abort),
    [kind, id, settled],
  );
  if (problem) return html`<${Failure} problem=${problem} what="histories" />`;
  if (!data) return html`<${Busy}>Loading the history …<//>`;
  const until = past.value?.seq ?? Infinity;
  const events = data.events.filter((event) => event.seq <= until).reverse();
  const items = (all ? events : events.slice(0, NEWEST)).map((event) => ({
    seq: event.seq,
    at: event.at,
    group: groupOf(event),
    says: event.says,
    note: html`${`${event.kind}, ${actorName(event.actor)}`}<${Cause} seq=${event.cause} />`,
    children: html`<${Changes} changes=${event.changes} />`,
  }));
  return html`<section class="panel">
    <h2>History of ${data.name} <span class="faint">newest first</span></h2>
    ${data.next && html`<p class="note">The first 10,000 events; there are more.</p>`}
    <${Chain} items=${items} />
    ${
      items.length < events.length &&
      html`<button type="button" onClick=${() => setAll(true)}>
        Show all ${number(events.length)}
      </button>`
    }
  </section>`;
}

/** @param {{seq: number | null | undefined}} props */
function Cause({ seq }) {
  return seq && html`, caused by <a href=${to(['events', String(seq)])}>#${seq}</a>`;
}
