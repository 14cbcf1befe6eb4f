// A table of any length: search, sort and filters live in the address, and only the rows in sight are in the page.

import { effect, html, useEffect, useLayoutEffect, useRef, useState } from '../html.js';
import { adjust, route } from '../router.js';
import { number } from '../words.js';
import { natural } from '../world.js';

/** The height of a row, in CSS pixels at 100 %: style.css has the same in rem. */
const ROW_REM = 2.25;
const SPARE_ROWS = 8;
const key = (value) => (typeof value === 'number' ? value : natural(String(value ?? '')));
const byKey = (a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0);

/**
 * Counts changes of signals, at most once in `ms`: whoever shows a lot is drawn anew as often as people can see and not as often as
 * something happens. `look` reads the signals.
 */
export function useChanged(look, ms) {
  const [stamp, set] = useState(0);
  useEffect(() => {
    let timer = null;
    // The first time too: something may have changed since it was drawn.
    const dispose = effect(() => {
      look();
      timer ??= setTimeout(() => {
        timer = null;
        set((before) => before + 1);
      }, ms);
    });
    return () => {
      dispose();
      clearTimeout(timer);
    };
  }, []);
  return stamp;
}

/**
 * @param {{label: string, rows: object[], columns: {key: string, label: string, value: (row: object) => any, show?: (row: object) => any,
 *   minor?: boolean, right?: boolean}[], filters?: {key: string, label: string, value: (row: object) => string, name?: (value: string) => string}[],
 *   sort: string, search: (row: object) => string, empty: any}} given
 */
export function Table({ label, rows, columns, filters = [], sort: defaultSort, search, empty }) {
  const { query } = route.value;
  const text = (query.get('q') ?? '').toLowerCase();
  const sort = query.get('sort') ?? defaultSort;
  const isDown = sort.startsWith('-');
  const column = columns.find((one) => one.key === sort.replace('-', '')) ?? columns[0];

  let found = rows;
  for (const filter of filters) {
    const wanted = query.get(filter.key);
    if (wanted) found = found.filter((row) => filter.value(row) === wanted);
  }
  if (text) found = found.filter((row) => search(row).toLowerCase().includes(text));
  const keyed = found.map((row) => [key(column.value(row)), row]);
  keyed.sort(byKey);
  if (isDown) keyed.reverse();

  const [box, first, last] = useSight(keyed.length);
  const head = (one) => {
    const is = one === column;
    const next = is && !isDown ? `-${one.key}` : one.key;
    return html`<th
      key=${one.key}
      scope="col"
      class=${cell(one)}
      aria-sort=${is ? (isDown ? 'descending' : 'ascending') : 'none'}
    >
      <button
        type="button"
        onClick=${() => adjust({ sort: next === defaultSort ? null : next })}
      >
        ${one.label}
        <span class="arrow" aria-hidden="true">
          ${is ? (isDown ? '↓' : '↑') : ''}
        </span>
      </button>
    </th>`;
  };
  return html`
    <div class="tools" role="search" aria-label=${`Search ${label}`}>
      <input
        type="search"
        id="search"
        placeholder="Search"
        aria-label=${`Search ${label}`}
        value=${query.get('q') ?? ''}
        onInput=${(event) => adjust({ q: event.target.value })}
      />
      ${filters.map(
        (filter) => html`<${Filter}
          key=${filter.key}
          filter=${filter}
          rows=${rows}
          value=${query.get(filter.key) ?? ''}
        />`,
      )}
      <span class="faint" role="status">
        ${
          keyed.length === rows.length
            ? number(rows.length)
            : `${number(keyed.length)} of ${number(rows.length)}`
        }
      </span>
    </div>
    <div class="table-box" role="region" aria-label=${label} tabindex="0">
      <table ref=${box} aria-rowcount=${keyed.length + 1}>
        <thead>
          <tr aria-rowindex="1">${columns.map(head)}</tr>
        </thead>
        <tbody>
          ${
            first > 0 &&
            html`<tr class="gap" aria-hidden="true" style=${{ height: `${first * ROW_REM}rem` }}>
              <td colspan=${columns.length}></td>
            </tr>`
          }
          ${keyed.slice(first, last).map(
            ([, row], index) => html`<tr key=${row.id} aria-rowindex=${first + index + 2}>
              ${columns.map((one, at) =>
                at === 0
                  ? html`<th scope="row" class=${cell(one)}>
                    ${one.show ? one.show(row) : one.value(row)}
                  </th>`
                  : html`<td class=${cell(one)}>${one.show ? one.show(row) : one.value(row)}</td>`,
              )}
            </tr>`,
          )}
          ${
            last < keyed.length &&
            html`<tr
              class="gap"
              aria-hidden="true"
              style=${{ height: `${(keyed.length - last) * ROW_REM}rem` }}
            >
              <td colspan=${columns.length}></td>
            </tr>`
          }
        </tbody>
      </table>
      ${keyed.length === 0 && html`<div class="empty">${rows.length ? 'Nothing matches.' : empty}</div>`}
    </div>
  `;
}

const cell = (column) =>
  `${column.minor ? 'minor ' : ''}${column.right ? 'right' : ''}`.trim() || undefined;

function Filter({ filter, rows, value }) {
  const counts = new Map();
  for (const row of rows) {
    const one = filter.value(row);
    if (one) counts.set(one, (counts.get(one) ?? 0) + 1);
  }
  const name = filter.name ?? ((one) => one);
  const options = [...counts]
    .map(([one, many]) => [natural(name(one)), one, name(one), many])
    .sort(byKey);
  return html`<select
    aria-label=${filter.label}
    value=${value}
    onChange=${(event) => adjust({ [filter.key]: event.target.value })}
  >
    <option value="">${filter.label}: any</option>
    ${options.slice(0, 500).map(
      ([, one, label, many]) => html`<option key=${one} value=${one}>
        ${label} (${many})
      </option>`,
    )}
  </select>`;
}

/** Which rows of a table are in sight as the page is scrolled. */
function useSight(count) {
  const box = useRef();
  const [[first, last], set] = useState([0, 60]);
  useLayoutEffect(() => {
    const look = () => {
      if (!box.current) return;
      const height = ROW_REM * parseFloat(getComputedStyle(document.documentElement).fontSize);
      const top = -box.current.getBoundingClientRect().top;
      const from = Math.max(0, Math.floor(top / height) - SPARE_ROWS);
      const until = Math.ceil((top + innerHeight) / height) + SPARE_ROWS;
      // In steps, so that scrolling by one row does not draw all of them anew.
      set((before) =>
        Math.abs(before[0] - from) < 4 && Math.abs(before[1] - until) < 4 ? before : [from, until],
      );
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
  return [box, start, Math.min(count, Math.max(last, start + 20))];
}
