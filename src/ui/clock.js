// The log's clock, to which all ages and relative times refer.
// @ts-check

import { signal } from './html.js';

/**
 * How far the log's clock is ahead of the daemon's machine, in milliseconds. The log never goes
 * back, so that it is ahead after a clock was set back, or when another daemon's clock is fast.
 */
export const ahead = signal(0);

/**
 * Takes note of the clock that an answer tells.
 * @param {Response} answer
 */
export function noteClock(answer) {
  ahead.value = Number(answer.headers.get('x-kdaemon-clock-ahead') ?? 0) * 1000;
}

/** The present by the log's clock, in milliseconds since 1970. */
export const present = () => Date.now() + ahead.peek();
