// Two moments side by side: what was added, what is gone, and what changed, each with the events that did it.

import { html } from '../html.js';
import { read } from '../api.js';
import { go, route, to } from '../router.js';
import { travel } from '../time.js';
import { KINDS } from '../world.js';
import { count, moment } from '../words.js';
import { Busy, Failure, Status, Title, useLoad } from '../parts/bits.js';
import { Changes } from './story.js';

const LIMIT = 500;

export function Diff() {
  const { query } = route.value;
  const [from, until] = [query.get('from'), query.get('to')];
  const submit = (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    go(['diff'], { from: form.get('from'), to: form.get('to') });
  };
  return html`
    <${Title} sub="What two moments differ in.">Compare<//>
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
          <input
            name="to"
            placeholder="now"
            defaultValue=${until ?? ''}
            key=${`t${until}`}
          />
        </label>
        <button class="primary">Compare</button>
        <span class="faint">An event's number, or a time as in 2026-01-31T12:00:00Z.</span>
      </form>
    </section>
    ${from && html`<${Result} key=${`${from} ${until}`} from=${from} until=${until} />`}
  `;
}

function Result({ from, until }) {
  const { data, problem } = useLoad(
    (abort) => read('/diff', { from, to: until }, abort),
    [from, until],
  );
  if (problem)
    return html`<section class="panel">
      <${Failure} problem=${problem} what="the comparison of two moments (diff)" />
    </section>`;
  if (!data) return html`<${Busy}>Comparing …<//>`;
  const nothing = KINDS.every((kind) =>
    ['added', 'removed', 'changed'].every((part) => !data[kind][part].length),
  );
  return html`
    <p class="sub diff-ends">
      <button type="button" onClick=${() => travel({ seq: data.from.seq })}>
        Event ${data.from.seq}, ${moment(data.from.at)}
      </button>${' '}
      <span class="arrow" aria-label="compared with">
        →
      </span>
      <button type="button" onClick=${() => travel({ seq: data.to.seq })}>
        Event ${data.to.seq}, ${moment(data.to.at)}
      </button>
    </p>
    ${nothing && html`<div class="empty">Nothing differs.</div>`}
    ${KINDS.filter((kind) =>
      ['added', 'removed', 'changed'].some((part) => data[kind][part].length),
    ).map(
      (kind) => html`<section key=${kind} class="panel diff">
        <h2>${kind[0].toUpperCase() + kind.slice(1)}</h2>
        <${Part} kind=${kind} sign="+" label="added" items=${data[kind].added} />
        <${Part} kind=${kind} sign="−" label="removed" items=${data[kind].removed} />
        <${Part} kind=${kind} sign="~" label="changed" items=${data[kind].changed} />
      </section>`,
    )}
  `;
}

function Part({ kind, sign, label, items }) {
  if (!items.length) return null;
  return html`
    <h3>
      ${count(items.length, 'one').replace(/ ones?$/, '')} ${label}
    </h3>
    <ul class=${`diff-list is-${label}`}>
      ${items.slice(0, LIMIT).map(
        (item) => html`<li key=${item.id}>
          <span class="sign" aria-hidden="true">
            ${sign}
          </span>
          <span>
            <a href=${to([kind, item.name])}>${item.name}</a>${' '}
            ${
              item.row &&
              html`<${Status}
                value=${
                  item.row.state ??
                  item.row.status ??
                  (item.row.is_enabled === false ? 'disabled' : 'enabled')
                }
              />`
            }
            <${Changes} changes=${item.fields} />
            <span class="faint">
              ${
                item.events?.length > 0 &&
                html`
                  ${' '}
                  by${' '}
                  ${item.events.slice(0, 8).map(
                    (seq, index) => html`
                      ${index > 0 && ', '}
                      <a key=${seq} href=${to(['events', seq])}>
                        #${seq}
                      </a>
                    `,
                  )}
                  ${item.events.length > 8 && ` and ${item.events.length - 8} more`}
                `
              }
            </span>
          </span>
        </li>`,
      )}
    </ul>
    ${items.length > LIMIT && html`<p class="faint">and ${items.length - LIMIT} more</p>`}
  `;
}
