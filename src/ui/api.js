// The public API: every request of the web UI goes through here.
// @ts-check

/** @import { Description, Event, Order, Query } from './types.js' */

import { noteClock } from './clock.js';
import { signal } from './html.js';
import { formatQuery } from './pure/address.js';

const meta = /** @type {HTMLMetaElement} */ (document.querySelector('meta[name=api]'));
/** The path before every route, as the daemon names it: `/0.0`. */
const BASE = meta.content;

/** A request that failed: what the daemon said about it (RFC 9457), or that it does not answer. */
export class Problem extends Error {
  /**
   * @param {number} status of the answer; 0 when there was none
   * @param {Record<string, any>} body
   */
  constructor(status, body) {
    super(body.detail || body.title || `The daemon answered ${status}.`);
    this.status = status;
    /** @type {string} */
    this.type = body.type || '';
    /** The field of the request that is wrong, as a path. @type {string | null} */
    this.field = body.field || null;
    /** What was wrong with each node. @type {{node: string, reason: string}[]} */
    this.reasons = body.reasons || [];
    /** @type {string | null} */
    this.requestId = body.request_id || null;
  }

  /** Whether this daemon is of a version without the route. */
  get isMissingRoute() {
    return this.type.endsWith('/no-such-route') || this.status === 405;
  }
}

/**
 * The URL of a route; a path that begins with `//` is outside of the versioned API. Parameters that
 * are null, false or empty are left out.
 * @param {string} path
 * @param {Query} query
 */
export function address(path, query = {}) {
  const url = path.startsWith('//') ? path.slice(1) : BASE + path;
  const text = formatQuery(query);
  return text ? `${url}?${text}` : url;
}

/**
 * Sends a request. Throws a Problem unless the answer is a success.
 * @param {string} method
 * @param {string} path
 * @param {{query?: Query, body?: unknown, signal?: AbortSignal, headers?: Record<string, string>}}
 *   given
 */
export async function send(method, path, { query, body, signal: abort, headers = {} } = {}) {
  /** @type {RequestInit & {headers: Record<string, string>}} */
  const options = { method, headers: { ...headers }, signal: abort, cache: 'no-cache' };
  if (body !== undefined) {
    options.headers['content-type'] = 'application/json';
    options.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(address(path, query), options);
  } catch (error) {
    if (isAbort(error)) throw error;
    const detail =
      method === 'GET'
        ? 'The daemon does not answer.'
        : 'The daemon does not answer. The request may not have been carried out.';
    throw new Problem(0, { detail });
  }
  noteClock(answer);
  if (answer.ok) return answer;
  const text = await answer.text();
  let problem;
  try {
    problem = JSON.parse(text);
  } catch {
    problem = { detail: text.slice(0, 500) };
  }
  throw new Problem(answer.status, problem);
}

/**
 * Whether a request ended because it was aborted.
 * @param {unknown} error
 */
export const isAbort = (error) => error instanceof Error && error.name === 'AbortError';

/**
 * The JSON of a route.
 * @param {string} path
 * @param {Query} [query]
 * @param {AbortSignal} [abort]
 * @returns {Promise<any>}
 */
export async function read(path, query, abort) {
  return (await send('GET', path, { query, signal: abort })).json();
}

/**
 * The seq of the state that an answer shows.
 * @param {Response} answer
 */
export function seqOf(answer) {
  return Number(answer.headers.get('x-kdaemon-seq'));
}

/**
 * Carries out a command once, also when the request has to be sent again; the row that it answers.
 * @param {Order} order
 * @returns {Promise<any>}
 */
export async function command({ method = 'POST', path, query, body }) {
  /** @type {Record<string, string>} */
  const headers = method === 'POST' ? { 'idempotency-key': randomKey() } : {};
  const answer = await send(method, path, { query, body, headers });
  return answer.json();
}

/**
 * The events that a command would append.
 * @param {Order} order
 * @param {AbortSignal} [abort]
 * @returns {Promise<Event[]>}
 */
export async function dryRun({ method = 'POST', path, query, body }, abort) {
  const options = { query: { ...query, dry_run: 'true' }, body, signal: abort };
  const answer = await send(method, path, options);
  return (await answer.json()).events;
}

function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** The API's own description, once it is read: schemas for forms, and which routes there are. */
export const description = signal(/** @type {Description | null} */ (null));

export async function loadDescription() {
  if (!description.value) description.value = await read('//openapi.json');
}

/**
 * The description of a route; undefined when the daemon has no such route, or it is not known yet.
 * @param {string} path
 */
export const routeOf = (path) => description.value?.paths[BASE + path];

/** A text as one segment of a path. */
export const seg = encodeURIComponent;
