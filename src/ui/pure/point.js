// A moment as people type it.
// @ts-check

/** @import { Point } from '../types.js' */

/** How to write a moment, for messages. */
export const POINT_EXAMPLES = '03:02, 2026-11-22 03:02, 10 min, or #812';

/** @type {Record<string, number>} */
const UNIT_MS = { s: 1e3, sec: 1e3, m: 60e3, min: 60e3, h: 3600e3, d: 86400e3 };
const DAY_MS = 86400e3;

/**
 * A time of day, a date and a time, how long ago, or the number of an event; null when it is none
 * of these.
 * @param {string} text
 * @param {number} now in milliseconds since 1970
 * @returns {Point | null}
 */
export function parsePoint(text, now) {
  const typed = text.trim();
  if (/^#?\d+$/.test(typed)) return { seq: Number(typed.replace('#', '')) };
  const back = typed.match(/^-?(\d+(?:\.\d+)?)\s*(s|sec|m|min|h|d)(?:\s+ago)?$/i);
  if (back) return { at: now - Number(back[1]) * UNIT_MS[back[2].toLowerCase()] };
  const clock = typed.match(/^(\d{1,2}):(\d{2})(?::(\d{2}(?:\.\d+)?))?$/);
  if (clock) {
    const at = new Date(now);
    at.setHours(Number(clock[1]), Number(clock[2]), 0, Number(clock[3] ?? 0) * 1000);
    // A time of day that is still to come today means yesterday.
    return { at: at.getTime() > now ? at.getTime() - DAY_MS : at.getTime() };
  }
  const at = Date.parse(typed.replace(/^(\d{4}-\d{2}-\d{2}) /, '$1T'));
  return Number.isNaN(at) ? null : { at };
}
