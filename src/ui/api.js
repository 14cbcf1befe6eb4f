// The public API: every request of the web UI goes through here.

import { signal } from './html.js';

/** The path before every route, as the daemon told it: `/0.0`. */
const BASE = document.querySelector('meta[name=api]').content;

/** A request that was not done: what the daemon said about it (RFC 9457), or that it does not answer. */
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || `The daemon answered ${status}.`);
    this.status = status;
    this.type = body.type || '';
    /** The field of the request that is wrong, as a path. */
    this.field = body.field || null;
    /** What was wrong with each node: [{node, reason}]. */
    this.reasons = body.reasons || [];
    this.requestId = body.request_id || null;
  }

  /** This daemon is of a version that does not have the route. */
  get isMissingRoute() {
    return this.type.endsWith('/no-such-route') || this.status === 405;
  }
}

/** The address of a route, with its query; parameters that are null or empty are left out. */
export function address(path, query = {}) {
  const url = path.startsWith('//') ? path.slice(1) : BASE + path;
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== '') parameters.set(name, value);
  }
  const text = parameters.toString();
  return text ? `${url}?${text}` : url;
}

/** Sends a request; the answer when it is a good one, a Problem otherwise. */
export async function send(method, path, { query, body, signal: abort, headers = {} } = {}) {
  const options = { method, headers: { ...headers }, signal: abort, cache: 'no-cache' };
  if (body !== undefined) {
    options.headers['content-type'] = 'application/json';
    options.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(address(path, query), options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Problem(0, {
      detail: 'The daemon does not answer. What was asked may not have been done.',
    });
  }
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

/** The JSON of a route. */
export async function read(path, query, abort) {
  return (await send('GET', path, { query, signal: abort })).json();
}

/** The seq of the state that an answer shows. */
export function seqOf(answer) {
  return Number(answer.headers.get('x-kdaemon-seq'));
}

/** Carries out a command once, also when the request has to be sent again. */
export async function command({ method = 'POST', path, query, body }) {
  const headers = method === 'POST' ? { 'idempotency-key': randomKey() } : {};
  const answer = await send(method, path, { query, body, headers });
  return { row: await answer.json(), status: answer.status, seq: seqOf(answer) };
}

/** The events that a command would append. */
export async function dryRun({ method = 'POST', path, query, body }, abort) {
  const answer = await send(method, path, {
    query: { ...query, dry_run: 'true' },
    body,
    signal: abort,
  });
  return (await answer.json()).events;
}

function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** The API's own description, once it is read: schemas for forms, and which routes there are. */
export const description = signal(null);

export async function loadDescription() {
  if (!description.value) description.value = await read('//openapi.json');
  return description.value;
}

/** Whether the daemon has a route; null while that is not known. */
export function has(route) {
  return description.value && Object.hasOwn(description.value.paths, BASE + route);
}

/** A schema of the description, with references to others followed. */
export function schema(name) {
  const all = description.value?.components?.schemas ?? {};
  const follow = (part) =>
    part?.$ref ? { ...follow(all[part.$ref.split('/').pop()]), ...part, $ref: undefined } : part;
  return { all, follow, root: follow(all[name]) };
}

/** One text for a path segment. */
export const seg = encodeURIComponent;
