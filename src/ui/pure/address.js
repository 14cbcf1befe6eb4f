// Addresses within the UI, as the part of the URL after `#`: `#/containers/web-1?view=logs`.
// @ts-check

/** @import { Query } from '../types.js' */

/**
 * What an address names: its path, and its parameters.
 * @param {string} hash
 */
export function parseAddress(hash) {
  const [path, query = ''] = hash.replace(/^#\/?/, '').split('?');
  return {
    parts: path.split('/').filter(Boolean).map(decode),
    query: new URLSearchParams(query),
  };
}

/**
 * The address of a view. Parameters that are null, false or empty are left out.
 * @param {string | string[]} parts
 * @param {Query} query
 */
export function formatAddress(parts, query) {
  const path = [parts].flat().map(encodeURIComponent).join('/');
  const text = formatQuery(query);
  return `#/${path}${text ? `?${text}` : ''}`;
}

/**
 * Parameters as text, without the ones that are null, false or empty.
 * @param {Query} query
 */
export function formatQuery(query) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== '' && value !== false) {
      parameters.set(name, String(value));
    }
  }
  return parameters.toString();
}

/** @param {string} text */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
