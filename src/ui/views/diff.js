// Two moments compared: what was added, removed and changed, each with the events that did it.
// @ts-check

/** @import { Diff as Answer, DiffItem, DiffPart, Kind, Row } from '../types.js' */

import { read } from '../api.js';
import { html } from '../html.js';
import { Busy, Failure, Status, Title } from '../parts/bits.js';
import { Changes } from '../parts/changes.js';
import { useLoad } from '../parts/hooks.js';
import { moment, number } from '../pure/format.js';
import { go, route, to } from '../router.js';
import { travel } from '../time.js';
import { KINDS } from '../world.js';

/** How many things are listed, and how many events of each. */
const LIMIT = 500;
const EVENTS = 8;

/** @type {[DiffPart, string][]} */
const PARTS = [
  ['added', '+'],
  ['removed', '−'],
  ['changed', '~'],
];

export function Diff() {
  const { query } = route.value;
  const [from, until] = [query.get('from'), query.get('to')];
  /** @param {SubmitEvent & {currentTarget: HTMLFormElement}} event */
  const submit = (event) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    go(['diff'], { from: String(form.get('from')), to: String(form.get('to')) });
  };
  return html`
    <${Title} sub="The differences between two moments">Compare<//>
    <section class="panel">
      <form class="inline" onSubmit=${submit}>
        <label>
          From${' '}
          <input
            name="from"
            required
            placeholder="an event or a time"
            defaultValue=${from ?? ''}
            key=${`f${from}`}
          />
        </label>
        <label>
          To${' '}
          <input name="to" placeholder="now" defaultValue=${until ?? ''} key=${`t${until}`} />
        </label>
        <button class="primary">Compare</button>
        <span class="faint">The number of an event, or a time such as 2026-01-31T12:00:00Z</span>
      </form>
    </section>
    ${from && html`<${Result} key=${`${from} ${until}`} from=${from} until=${until} />`}
  `;
}

/** @param {{from: string, until: string | null}} props */
function Result({ from, until }) {
  const { data, problem } = useLoad(
    /** @returns {Promise<Answer>} */
    (abort) => read('/diff', { from, to: until }, abort),
    [from, until],
  );
  if (problem) {
    return html`<section class="panel">
      <${Failure} problem=${problem} what="comparisons (diff)" />
    </section>`;
  }
  if (!data) return html`<${Busy}>Comparing …<//>`;
  const kinds = KINDS.filter((kind) => PARTS.some(([part]) => data[kind][part].length));
  return html`
    <p class="sub diff-ends">
      <${End} moment=${data.from} />
      <span class="arrow" aria-label="compared with"> → </span>
      <${End} moment=${data.to} />
    </p>
    ${!kinds.length && html`<div class="empty">No differences</div>`}
    ${kinds.map(
      (kind) => html`<section key=${kind} class="panel diff">
        <h2>${kind[0].toUpperCase() + kind.slice(1)}</h2>
        ${PARTS.map(
          ([part, sign]) => html`<${Part}
            key=${part}
            kind=${kind}
            part=${part}
            sign=${sign}
            items=${data[kind][part]}
          />`,
        )}
      </section>`,
    )}
  `;
}

/** @param {{moment: {seq: number, at: string}}} props */
function End({ moment: { seq, at } }) {
  return html`<button type="button" onClick=${() => travel({ seq })}>
    Event ${seq}, ${moment(at)}
  </button>`;
}

/** @param {{kind: Kind, part: DiffPart, sign: string, items: DiffItem[]}} props */
function Part({ kind, part, sign, items }) {
  if (!items.length) return null;
  return html`
    <h3>${number(items.length)} ${part}</h3>
    <ul class=${`diff-list is-${part}`}>
      ${items.slice(0, LIMIT).map(
        (item) => html`<li key=${item.id}>
          <span class="sign" aria-hidden="true">${sign}</span>
          <span>
            <a href=${to([kind, item.name])}>${item.name}</a>${' '}
            ${item.row && html`<${Status} value=${statusOf(item.row)} />`}
            <${Changes} changes=${item.fields} />
            <${Events} seqs=${item.events ?? []} />
          </span>
        </li>`,
      )}
    </ul>
    ${items.length > LIMIT && html`<p class="faint">and ${items.length - LIMIT} more</p>`}
  `;
}

/** @param {Row} row */
function statusOf(row) {
  if ('state' in row) return row.state;
  if ('status' in row) return row.status;
  return row.is_enabled ? 'enabled' : 'disabled';
}

/** @param {{seqs: number[]}} props */
function Events({ seqs }) {
  if (!seqs.length) return null;
  const links = seqs.slice(0, EVENTS).map(
    (seq, index) => html`
      ${index > 0 && ', '}
      <a key=${seq} href=${to(['events', String(seq)])}>#${seq}</a>
    `,
  );
  const more = seqs.length - EVENTS;
  return html`<span class="faint"> by ${links}${more > 0 && ` and ${more} more`}</span>`;
}
