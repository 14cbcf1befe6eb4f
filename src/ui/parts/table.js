// A table of any length. Search, order and filters are part of the address, and only the visible
// rows are in the page.
// @ts-check

import { html, useLayoutEffect, useRef, useState } from '../html.js';
import { number } from '../pure/format.js';
import { select, tally } from '../pure/sorting.js';
import { adjust, route } from '../router.js';

/** The height of a row in rem; style.css has the same. */
const ROW_REM = 2.25;
/** Rows that are drawn above and below the visible ones. */
const SPARE_ROWS = 8;
/**
 * The visible range is updated in steps of rows, so that scrolling by one row does not redraw all
 * of them.
 */
const STEP_ROWS = 4;
const LEAST_ROWS = 20;
/** How many values a filter offers. */
const OPTIONS = 500;

/**
 * @template Row
 * @typedef {{
 *   key: string,
 *   label: string,
 *   value: (row: Row) => unknown,
 *   show?: (row: Row) => unknown,
 *   minor?: boolean,
 *   right?: boolean,
 * }} Column  `value`: what is sorted by, and shown unless there is `show`; `minor`: hidden on
 * narrow
 *   screens
 */

/**
 * @template Row
 * @typedef {{
 *   key: string,
 *   label: string,
 *   value: (row: Row) => string | null | undefined,
 *   name?: (value: string) => string,
 * }} Filter
 */

/**
 * @template {{id: string | number}} Row
 * @param {{
 *   label: string,
 *   rows: Row[],
 *   columns: Column<Row>[],
 *   filters?: Filter<Row>[],
 *   sort: string,
 *   search: (row: Row) => string,
 *   empty: unknown,
 * }} props  `sort`: the key of the column that orders the rows at first, with `-` for descending
 */
export function Table({ label, rows, columns, filters = [], sort: defaultSort, search, empty }) {
  const { query } = route.value;
  const sort = query.get('sort') ?? defaultSort;
  const isDown = sort.startsWith('-');
  const column = columns.find((one) => one.key === sort.replace('-', '')) ?? columns[0];
  const found = select(rows, {
    text: query.get('q') ?? '',
    search,
    filters: filters.map(({ key, value }) => ({ wanted: query.get(key), value })),
    value: column.value,
    isDown,
  });

  const [box, first, last] = useVisible(found.length);
  /** @param {Column<Row>} one */
  const head = (one) => {
    const direction = one !== column ? 'none' : isDown ? 'descending' : 'ascending';
    const next = direction === 'ascending' ? `-${one.key}` : one.key;
    return html`<th key=${one.key} scope="col" class=${cellClass(one)} aria-sort=${direction}>
      <button
        type="button"
        onClick=${() => adjust({ sort: next === defaultSort ? null : next })}
      >
        ${one.label}
        <span class="arrow" aria-hidden="true">${ARROWS[direction]}</span>
      </button>
    </th>`;
  };
  /**
   * @param {Row} row
   * @param {number} index
   */
  const body = (row, index) => html`<tr key=${row.id} aria-rowindex=${first + index + 2}>
    ${columns.map((one, at) => {
      const content = one.show ? one.show(row) : one.value(row);
      return at === 0
        ? html`<th scope="row" class=${cellClass(one)}>${content}</th>`
        : html`<td class=${cellClass(one)}>${content}</td>`;
    })}
  </tr>`;
  const total = number(rows.length);
  return html`
    <div class="tools" role="search" aria-label=${`Search ${label}`}>
      <input
        type="search"
        id="search"
        placeholder="Search"
        aria-label=${`Search ${label}`}
        value=${query.get('q') ?? ''}
        onInput=${(/** @type {any} */ event) => adjust({ q: event.target.value })}
      />
      ${filters.map(
        (filter) => html`<${Choice}
          key=${filter.key}
          filter=${filter}
          rows=${rows}
          value=${query.get(filter.key) ?? ''}
        />`,
      )}
      <span class="faint" role="status">
        ${found.length === rows.length ? total : `${number(found.length)} of ${total}`}
      </span>
    </div>
    <div class="table-box" role="region" aria-label=${label} tabindex="0">
      <table ref=${box} aria-rowcount=${found.length + 1}>
        <thead>
          <tr aria-rowindex="1">${columns.map(head)}</tr>
        </thead>
        <tbody>
          <${Gap} rows=${first} columns=${columns.length} />
          ${found.slice(first, last).map(body)}
          <${Gap} rows=${found.length - last} columns=${columns.length} />
        </tbody>
      </table>
      ${
        found.length === 0 &&
        html`<div class="empty">${rows.length ? 'Nothing matches.' : empty}</div>`
      }
    </div>
  `;
}

const ARROWS = { none: '', ascending: '↑', descending: '↓' };

/** @param {{minor?: boolean, right?: boolean}} column */
const cellClass = ({ minor, right }) =>
  `${minor ? 'minor ' : ''}${right ? 'right' : ''}`.trim() || undefined;

/**
 * The room of rows that are not drawn.
 * @param {{rows: number, columns: number}} props
 */
function Gap({ rows, columns }) {
  if (rows <= 0) return null;
  return html`<tr class="gap" aria-hidden="true" style=${{ height: `${rows * ROW_REM}rem` }}>
    <td colspan=${columns}></td>
  </tr>`;
}

/**
 * @template Row
 * @param {{filter: Filter<Row>, rows: Row[], value: string}} props
 */
function Choice({ filter, rows, value }) {
  const options = tally(rows, filter.value, filter.name ?? String).slice(0, OPTIONS);
  return html`<select
    aria-label=${filter.label}
    value=${value}
    onChange=${(/** @type {any} */ event) => adjust({ [filter.key]: event.target.value })}
  >
    <option value="">${filter.label}: all</option>
    ${options.map(
      (one) => html`<option key=${one.value} value=${one.value}>${one.name} (${one.many})</option>`,
    )}
  </select>`;
}

/**
 * The range of rows that is visible: [the table's ref, first, end].
 * @param {number} count
 * @returns {[{current: HTMLTableElement | null}, number, number]}
 */
function useVisible(count) {
  const box = useRef(/** @type {HTMLTableElement | null} */ (null));
  const [[first, last], set] = useState([0, 60]);
  useLayoutEffect(() => {
    const look = () => {
      if (!box.current) return;
      const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
      const height = ROW_REM * rem;
      const top = -box.current.getBoundingClientRect().top;
      const from = Math.max(0, Math.floor(top / height) - SPARE_ROWS);
      const until = Math.ceil((top + innerHeight) / height) + SPARE_ROWS;
      set((before) => {
        const moved = Math.max(Math.abs(before[0] - from), Math.abs(before[1] - until));
        return moved < STEP_ROWS ? before : [from, until];
      });
    };
    look();
    addEventListener('scroll', look, { passive: true });
    addEventListener('resize', look);
    return () => {
      removeEventListener('scroll', look);
      removeEventListener('resize', look);
    };
  }, []);
  const start = Math.min(first, Math.max(0, count - 1));
  return [box, start, Math.min(count, Math.max(last, start + LEAST_ROWS))];
}
