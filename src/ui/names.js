// Names of resources, deleted ones included: learned from rows and from events.
// @ts-check

/** @import { Event, Kind } from './types.js' */
/** @import { World } from './world.js' */

import { signal } from './html.js';
import { shortId } from './pure/format.js';

/** How many names are kept; the oldest go first. */
const LIMIT = 100_000;
/** @type {Map<string, string>} */
const names = new Map();
/** Counts the times that names were learned. */
export const namesKnown = signal(0);

/** @param {Event[]} events */
export function learnNames(events) {
  let learned = false;
  for (const { data } of events) {
    if (!data?.name) continue;
    const id = data.container_id ?? data.node_id ?? data.application_id;
    if (id && names.get(id) !== data.name) {
      names.set(id, data.name);
      learned = true;
    }
  }
  for (const id of names.keys()) {
    if (names.size <= LIMIT) break;
    names.delete(id);
  }
  if (learned) namesKnown.value++;
}

/**
 * The name of a thing: from the rows that are shown, from events, or the beginning of its id.
 * @param {World | null} world
 * @param {Kind} kind
 * @param {string | null | undefined} id
 */
export function nameOf(world, kind, id) {
  if (!id) return 'nothing';
  return world?.name(kind, id) ?? names.get(id) ?? shortId(id);
}
