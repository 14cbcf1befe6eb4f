// The log, live, with filters; and whether it is intact.
// @ts-check

/** @import { Event } from '../types.js' */
/** @import { Column, Filter } from '../parts/table.js' */

import { address } from '../api.js';
import { html, useEffect, useMemo, useState } from '../html.js';
import { Audit } from '../parts/audit.js';
import { Title } from '../parts/bits.js';
import { useChanged } from '../parts/hooks.js';
import { Table } from '../parts/table.js';
import { GROUPS, actorName, groupOf } from '../pure/events.js';
import { clock, moment } from '../pure/format.js';
import { adjust, route, to } from '../router.js';
import { RANGES, range, tape } from '../tape.js';
import { past } from '../time.js';

/** How many raw observations are kept. */
const OBSERVATIONS = 2000;
/** How often observations are added, in milliseconds. */
const TAKE_MS = 400;

/** @typedef {Omit<Event, 'id'> & {id: number}} Row  `id`: its seq */

/** @type {Column<Row>[]} */
const COLUMNS = [
  {
    key: 'seq',
    label: 'Event',
    right: true,
    value: (row) => row.seq,
    show: (row) => html`<a href=${to(['events', String(row.seq)])}>#${row.seq}</a>`,
  },
  {
    key: 'at',
    label: 'Time',
    value: (row) => Date.parse(row.at),
    show: (row) =>
      html`<time datetime=${row.at} title=${moment(row.at)}>${clock(row.at, true)}</time>`,
  },
  {
    key: 'says',
    label: 'What happened',
    value: (row) => row.says,
    show: (row) =>
      html`<span class=${`says mark-${groupOf(row)}`} title=${row.says}>${row.says}</span>`,
  },
  { key: 'kind', label: 'Kind', minor: true, value: (row) => row.kind },
  { key: 'actor', label: 'By', minor: true, value: (row) => actorName(row.actor) },
  {
    key: 'cause',
    label: 'Caused by',
    minor: true,
    right: true,
    value: (row) => row.cause ?? 0,
    show: (row) =>
      row.cause && html`<a href=${to(['events', String(row.cause)])}>#${row.cause}</a>`,
  },
];
/** @type {Filter<Row>[]} */
const FILTERS = [
  {
    key: 'group',
    label: 'Category',
    value: groupOf,
    name: (group) => GROUPS[group]?.label ?? 'Other',
  },
  { key: 'kind', label: 'Kind', value: (row) => row.kind },
  { key: 'actor', label: 'By', value: (row) => actorName(row.actor) },
];

/** @param {Row} row */
const search = (row) =>
  `${row.seq} ${row.kind} ${row.says} ${actorName(row.actor)} ${row.request_id ?? ''}`;

export function EventList() {
  const withProbes = route.value.query.get('probes') === '1';
  const probes = useObservations(withProbes);
  const stamp = useChanged(() => tape.value, 500);
  const until = past.value?.seq ?? Infinity;
  const rows = useMemo(() => {
    const facts = tape.peek().marks.flatMap(({ event }) => event ?? []);
    const events = facts.concat(probes).filter(({ seq }) => seq <= until);
    return events.map(rowOf);
  }, [stamp, probes, until]);
  /** @param {{currentTarget: HTMLInputElement}} event */
  const toggle = ({ currentTarget }) => adjust({ probes: currentTarget.checked && 1 });
  const label = RANGES.find(([ms]) => ms === range.value)?.[1];
  const period = range.value ? `of the last ${label}` : 'of the whole log';
  return html`
    <${Title}
      sub=${`The events ${period}, newest first. The time line sets the range.`}
      actions=${html`<label class="check">
        <input type="checkbox" checked=${withProbes} onChange=${toggle} />
        ${' '}Show health probes (live)
      </label>`}
    >
      Events
    <//>
    <${Audit} />
    <${Table}
      label="events"
      rows=${rows}
      columns=${COLUMNS}
      filters=${FILTERS}
      sort="-seq"
      search=${search}
      empty="No events in this range"
    />
  `;
}

/** @type {WeakMap<Event, Row>} */
const rows = new WeakMap();

/**
 * The row of an event, made once.
 * @param {Event} event
 */
function rowOf(event) {
  let row = rows.get(event);
  if (!row) {
    row = { ...event, id: event.seq };
    rows.set(event, row);
  }
  return row;
}

/**
 * Probes, as they happen, while they are wanted.
 * @param {boolean} wanted
 */
function useObservations(wanted) {
  const [events, setEvents] = useState(/** @type {Event[]} */ ([]));
  useEffect(() => {
    setEvents([]);
    if (!wanted) return;
    const source = new EventSource(address('/events/stream', { kind: 'NodeObserved' }));
    /** @type {Event[]} */
    let received = [];
    source.onmessage = ({ data }) => received.push(JSON.parse(data));
    const timer = setInterval(() => {
      if (!received.length) return;
      const more = received;
      received = [];
      setEvents((before) => before.concat(more).slice(-OBSERVATIONS));
    }, TAKE_MS);
    return () => {
      source.close();
      clearInterval(timer);
    };
  }, [wanted]);
  return events;
}
