// The newest events up to the moment that is shown.
// @ts-check

import { html } from '../html.js';
import { groupOf } from '../pure/events.js';
import { to } from '../router.js';
import { tape } from '../tape.js';
import { past } from '../time.js';
import { Chain } from './chain.js';
import { useChanged } from './hooks.js';

/** How many events are listed. */
const LATEST = 8;

export function Latest() {
  const until = past.value?.seq ?? Infinity;
  useChanged(() => tape.value, 500);
  const { marks } = tape.peek();
  const events = [];
  for (let index = marks.length - 1; index >= 0 && events.length < LATEST; index--) {
    const { seq, event } = marks[index];
    if (!event) break;
    if (seq <= until) events.push(event);
  }
  const items = events.map((event) => ({
    seq: event.seq,
    at: event.at,
    group: groupOf(event),
    says: event.says,
  }));
  return html`<section class="latest panel" aria-label="Latest events">
    <h2>Latest <a class="faint" href=${to(['events'])}>all events</a></h2>
    ${
      items.length
        ? html`<${Chain} items=${items} millis=${false} />`
        : html`<p class="faint">No events in the range of the time line</p>`
    }
  </section>`;
}
