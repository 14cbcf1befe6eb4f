// Where we are: the address behind `#`, and what it says. `#/containers/web-1?view=logs`.

import { computed, signal } from './html.js';

const hash = signal(location.hash);
addEventListener('hashchange', () => (hash.value = location.hash));

/** {parts: ['containers', 'web-1'], query: URLSearchParams}. */
export const route = computed(() => {
  const [path, query = ''] = hash.value.replace(/^#\/?/, '').split('?');
  return {
    parts: path.split('/').filter(Boolean).map(decode),
    query: new URLSearchParams(query),
  };
});

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The moment that every link keeps: set by the time line, null for now. */
export const carried = signal(null);

/** The address of a view. */
export function to(parts, query = {}) {
  const path = [].concat(parts).map(encodeURIComponent).join('/');
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== '' && value !== false)
      parameters.set(name, value);
  }
  if (carried.value) parameters.set('seq', carried.value);
  const text = parameters.toString();
  return `#/${path}${text ? '?' + text : ''}`;
}

export function go(parts, query) {
  location.hash = to(parts, query);
}

/** Changes parameters of the address without a new step in the browser's history. */
export function adjust(changes) {
  const { parts, query } = route.peek();
  const all = { ...Object.fromEntries(query), seq: null, ...changes };
  const next = to(parts, all);
  if (next !== location.hash) {
    history.replaceState(null, '', next);
    hash.value = next;
  }
}
