// The address of what is shown, as signals, and the links to everything else.
// @ts-check

/** @import { Query } from './types.js' */

import { computed, signal } from './html.js';
import { formatAddress, parseAddress } from './pure/address.js';

const hash = signal(location.hash);
addEventListener('hashchange', () => (hash.value = location.hash));

/** What the address names: {parts: ['containers', 'web-1'], query}. */
export const route = computed(() => parseAddress(hash.value));

/** The seq of the past moment that every link keeps; null for now. */
export const carried = signal(/** @type {number | null} */ (null));

/**
 * The address of a view, at the moment that is shown.
 * @param {string | string[]} parts
 * @param {Query} query
 */
export function to(parts, query = {}) {
  return formatAddress(parts, carried.value ? { ...query, seq: carried.value } : query);
}

/**
 * @param {string | string[]} parts
 * @param {Query} [query]
 */
export function go(parts, query) {
  location.hash = to(parts, query);
}

/**
 * Changes parameters of the address without a new entry in the browser's history.
 * @param {Query} changes
 */
export function adjust(changes) {
  const { parts, query } = route.peek();
  const next = to(parts, { ...Object.fromEntries(query), seq: null, ...changes });
  if (next !== location.hash) {
    history.replaceState(null, '', next);
    hash.value = next;
  }
}
