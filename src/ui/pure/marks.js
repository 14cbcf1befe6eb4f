// Marks of the time line, ordered by sequence number and time: looking one up, and keeping them
// few.
// @ts-check

/** @import { Event, Mark } from '../types.js' */

import { groupOf } from './events.js';

/**
 * @param {Event} event
 * @returns {Mark}
 */
export const markOf = (event) => ({
  seq: event.seq,
  at: Date.parse(event.at),
  group: groupOf(event),
  kind: event.kind,
  event,
});

/**
 * The index of the last mark at or before a time (milliseconds since 1970); -1 when there is none.
 * @param {Mark[]} marks
 * @param {number} at
 */
export const indexAt = (marks, at) => lastIndex(marks, (mark) => mark.at <= at);

/**
 * The index of the last mark at or before an event; -1 when there is none.
 * @param {Mark[]} marks
 * @param {number} seq
 */
export const indexOf = (marks, seq) => lastIndex(marks, (mark) => mark.seq <= seq);

/**
 * The index of the last mark that `isBefore` holds for, given that it holds for a prefix of them.
 * @param {Mark[]} marks
 * @param {(mark: Mark) => boolean} isBefore
 */
function lastIndex(marks, isBefore) {
  let low = 0;
  let high = marks.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isBefore(marks[middle])) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
