// The log, live, with filters; and whether it is whole.

import { html, signal, useEffect, useMemo, useState } from '../html.js';
import { address, Problem, read } from '../api.js';
import { adjust, route, to } from '../router.js';
import { RANGES, range, tape } from '../tape.js';
import { past, shown } from '../time.js';
import {
  GROUPS,
  actorName,
  clock,
  groupOf,
  moment,
  namesKnown,
  number,
  say,
  subjectsOf,
} from '../words.js';
import { Busy, Failure, Thing, Title } from '../parts/bits.js';
import { Table, useChanged } from '../parts/table.js';

/** Raw observations are kept while somebody looks, and not many. */
const OBSERVATIONS = 2000;

export function EventList() {
  const world = shown.value;
  const { query } = route.value;
  const probes = useObservations(query.get('probes') === '1');
  const stamp = useChanged(() => tape.value, 500);
  const until = past.value?.seq ?? Infinity;
  const rows = useMemo(() => {
    const facts = tape
      .peek()
      .marks.filter((mark) => mark.event && mark.seq <= until)
      .map(({ event }) => event);
    const all = probes.length ? facts.concat(probes.filter((event) => event.seq <= until)) : facts;
    return all.map((event) => rowOf(event, world));
  }, [world, stamp, probes, until, namesKnown.peek()]);
  const columns = [
    {
      key: 'seq',
      label: 'Event',
      right: true,
      value: (row) => row.seq,
      show: (row) => html`<a href=${to(['events', row.seq])}>#${row.seq}</a>`,
    },
    {
      key: 'at',
      label: 'Time',
      value: (row) => Date.parse(row.at),
      show: (row) => html`<time datetime=${row.at} title=${moment(row.at)}>
        ${clock(row.at, true)}
      </time>`,
    },
    {
      key: 'says',
      label: 'What happened',
      value: (row) => row.says,
      show: (row) => html`<span class=${`says mark-${groupOf(row)}`} title=${row.says}>
        ${row.says}
      </span>`,
    },
    { key: 'kind', label: 'Kind', minor: true, value: (row) => row.kind },
    { key: 'actor', label: 'By', minor: true, value: (row) => actorName(row.actor) },
    {
      key: 'cause',
      label: 'Because of',
      minor: true,
      right: true,
      value: (row) => row.cause ?? 0,
      show: (row) => row.cause && html`<a href=${to(['events', row.cause])}>#${row.cause}</a>`,
    },
  ];
  const filters = [
    {
      key: 'group',
      label: 'Sort',
      value: groupOf,
      name: (group) => GROUPS[group]?.label ?? 'Other',
    },
    { key: 'kind', label: 'Kind', value: (row) => row.kind },
    { key: 'actor', label: 'By', value: (row) => actorName(row.actor) },
  ];
  const stretch = RANGES.find(([ms]) => ms === range.value)?.[1];
  return html`
    <${Title}
      sub=${`The log of the last ${stretch === 'everything' ? 'weeks and years' : stretch}, newest first: the time line chooses the stretch.`}
      actions=${html`<label class="check">
        <input
          type="checkbox"
          checked=${query.get('probes') === '1'}
          onChange=${(event) => adjust({ probes: event.target.checked ? 1 : null })}
        />${' '}
        Raw observations, from now on
      </label>`}
    >
      Events
    <//>
    <${Audit} />
    <${Table}
      label="events"
      rows=${rows}
      columns=${columns}
      filters=${filters}
      sort="-seq"
      search=${(row) =>
        `${row.seq} ${row.kind} ${row.says} ${actorName(row.actor)} ${row.request_id ?? ''}`}
      empty="Nothing happened in this stretch of time."
    />
  `;
}

/** The row of an event: its sentence is made once, for as long as names stay as they are. */
let rows = new WeakMap();
let madeFor = [];
function rowOf(event, world) {
  if (madeFor[0] !== world || madeFor[1] !== namesKnown.peek()) {
    rows = new WeakMap();
    madeFor = [world, namesKnown.peek()];
  }
  let row = rows.get(event);
  if (!row) rows.set(event, (row = { ...event, id: event.seq, says: say(event, world) }));
  return row;
}

/** Probes, as they happen, while they are wanted. */
function useObservations(wanted) {
  const [events, setEvents] = useState([]);
  useEffect(() => {
    setEvents([]);
    if (!wanted) return;
    const source = new EventSource(address('/events/stream', { kind: 'NodeObserved' }));
    let heard = [];
    source.onmessage = ({ data }) => heard.push(JSON.parse(data));
    const timer = setInterval(() => {
      if (!heard.length) return;
      const more = heard;
      heard = [];
      setEvents((before) => before.concat(more).slice(-OBSERVATIONS));
    }, 400);
    return () => {
      source.close();
      clearInterval(timer);
    };
  }, [wanted]);
  return events;
}

const audit = signal(null);

/** The integrity of the log. */
function Audit() {
  const verify = async () => {
    audit.value = { busy: true };
    try {
      audit.value = { ...(await read('/audit/verify')), at: Date.now() };
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      audit.value = { problem };
    }
  };
  const state = audit.value;
  return html`<section class="panel audit" aria-label="Audit">
    <div aria-live="polite">
      ${
        !state &&
        html`<p>
          Each commit carries a digest over all before it. Whether none was altered,
          removed or inserted can be checked at any time.
        </p>`
      }
      ${state?.busy && html`<${Busy}>Checking every event's digest …<//>`}
      ${
        state?.problem &&
        html`<${Failure}
          problem=${state.problem}
          what="the audit of the log (audit/verify); the command kdaemon verify does it while the daemon is stopped"
        />`
      }
      ${
        state?.ok === true &&
        html`
          <p class="is-good">
            ✓ The log is whole: ${number(state.events)} events in ${number(state.commits)}${' '}
            commits, verified up to event ${state.head.seq} at ${clock(state.at)}.
          </p>
          <p class="digest">
            head${' '}
            <code>
              ${state.head.seq}:${state.head.digest}
            </code>
          </p>
        `
      }
      ${
        state?.ok === false &&
        html`<p class="is-bad" role="alert">
          ✗ The log is not whole:${' '}
          ${
            state.first_bad
              ? `commit ${state.first_bad.commit}, events ${state.first_bad.first_seq} to ${state.first_bad.last_seq}: ${state.first_bad.detail}`
              : state.detail
          }
        </p>`
      }
    </div>
    <button type="button" disabled=${state?.busy} onClick=${verify}>
      Verify the log
    </button>
  </section>`;
}

/** What an event is about, as links. */
export function Subjects({ event }) {
  return subjectsOf(event).map(
    ([kind, id], index) => html`
      ${index > 0 && ', '}
      <${Thing} key=${id} kind=${kind} id=${id} />
    `,
  );
}
