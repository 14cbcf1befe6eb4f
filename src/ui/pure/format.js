// Numbers, sizes and times as text.
// @ts-check

/**
 * `20 000`, with thin spaces. (`toLocaleString` is slow, and this is called in every frame.)
 * @param {number | string} value
 */
export const number = (value) => String(value).replace(/\B(?=(\d{3})+(?!\d))/g, '\u2009');

/**
 * `1 node`, `3 nodes`.
 * @param {number} n
 * @param {string} noun in the singular
 */
export const count = (n, noun) => `${number(n)} ${noun}${n === 1 ? '' : 's'}`;

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/**
 * A size in binary units, with three significant digits.
 * @param {number | null | undefined} value in bytes
 */
export function bytes(value) {
  if (value === null || value === undefined) return '–';
  let unit = 0;
  let n = value;
  while (n >= 1024 && unit < UNITS.length - 1) {
    n /= 1024;
    unit++;
  }
  return `${n >= 100 || unit === 0 ? Math.round(n) : n.toFixed(1)} ${UNITS[unit]}`;
}

/** @param {number} n */
const two = (n) => String(n).padStart(2, '0');

/**
 * `15:04:05`, in the browser's time zone.
 * @param {number | string} at
 */
export function clock(at, millis = false) {
  const d = new Date(at);
  const fraction = millis ? `.${String(d.getMilliseconds()).padStart(3, '0')}` : '';
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}${fraction}`;
}

/**
 * `2026-11-22`, in the browser's time zone.
 * @param {number | string} at
 */
export function day(at) {
  const d = new Date(at);
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;
}

/**
 * `2026-11-22 15:04:05`, in the browser's time zone.
 * @param {number | string} at
 */
export const moment = (at, millis = false) => `${day(at)} ${clock(at, millis)}`;

/**
 * A duration: `3 s`, `4 min`, `2 h 10 min`, `5 days`.
 * @param {number} ms
 */
export function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  const m = Math.floor(s / 60);
  if (m < 60) return s % 60 && m < 10 ? `${m} min ${s % 60} s` : `${m} min`;
  const h = Math.floor(m / 60);
  if (h < 48) return m % 60 ? `${h} h ${m % 60} min` : `${h} h`;
  return `${Math.floor(h / 24)} days`;
}

/**
 * How long ago a moment was.
 * @param {number | string} at
 * @param {number} now in milliseconds since 1970
 */
export function ago(at, now) {
  const ms = now - new Date(at).getTime();
  return ms < 1500 ? 'just now' : `${span(ms)} ago`;
}

/**
 * The beginning of an id, for a thing whose name is not known.
 * @param {string} id
 */
export const shortId = (id) => `${id.slice(0, 8)}…`;

/**
 * Labels as text: `disk=ssd, gpu`.
 * @param {Record<string, string> | null | undefined} labels
 */
export const labelsText = (labels) =>
  Object.entries(labels ?? {})
    .map(([name, value]) => (value ? `${name}=${value}` : name))
    .join(', ');
