// Draws the strip of the time line: an axis, one lane of marks for each group of events, and the
// moment that is shown.
// @ts-check

/** @import { Mark } from '../types.js' */

import { GROUPS } from '../pure/events.js';
import { clock, day } from '../pure/format.js';
import { indexAt } from '../pure/marks.js';

/** In CSS pixels. */
export const HEIGHT = 56;
const LANE = 10;
const AXIS = 14;
/** The room that the text of a tick needs. */
const TICK_WIDTH = 76;
const DAY_MS = 86400e3;
/** Distances of ticks, in milliseconds. */
const TICKS = [
  1e3,
  5e3,
  15e3,
  60e3,
  300e3,
  900e3,
  3600e3,
  3 * 3600e3,
  6 * 3600e3,
  12 * 3600e3,
  DAY_MS,
  7 * DAY_MS,
];
const LANES = Object.keys(GROUPS);

/**
 * @typedef {{from: number, to: number}} Period  in milliseconds since 1970
 * @typedef {{
 *   pen: CanvasRenderingContext2D,
 *   width: number,
 *   period: Period,
 *   x: (time: number) => number,
 *   color: (name: string) => string,
 *   font: string,
 * }} Sheet
 */

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Period} period
 * @param {Mark[]} marks
 * @param {number | null} shownAt the past moment that is shown; null for now
 */
export function paint(canvas, period, marks, shownAt) {
  const ratio = devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const pen = canvas.getContext('2d');
  if (!width || !pen) return;
  if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
  if (canvas.height !== HEIGHT * ratio) canvas.height = HEIGHT * ratio;
  const style = getComputedStyle(canvas);
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, HEIGHT);
  /** @type {Sheet} */
  const sheet = {
    pen,
    width,
    period,
    x: (time) => ((time - period.from) / (period.to - period.from)) * width,
    color: (name) => style.getPropertyValue(name).trim(),
    font: style.fontFamily,
  };
  paintAxis(sheet);
  paintMarks(sheet, marks);
  if (shownAt !== null) paintMoment(sheet, shownAt);
}

/** @param {Sheet} sheet */
function paintAxis({ pen, width, period: { from, to }, x, color, font }) {
  const every = TICKS.find((ms) => ((to - from) / ms) * TICK_WIDTH < width) ?? 7 * DAY_MS;
  const zone = new Date(to).getTimezoneOffset() * 60e3;
  pen.font = `11px ${font}`;
  pen.fillStyle = color('--muted');
  for (let time = Math.ceil((from - zone) / every) * every + zone; time < to; time += every) {
    pen.fillRect(Math.round(x(time)), HEIGHT - AXIS, 1, 3);
    if (x(time) < width - 30) pen.fillText(tickText(time, every), x(time) + 3, HEIGHT - 2);
  }
}

/**
 * @param {number} time
 * @param {number} every the distance of ticks
 */
function tickText(time, every) {
  if (every >= DAY_MS) return day(time).slice(5);
  return every < 60e3 ? clock(time) : clock(time).slice(0, 5);
}

/**
 * Many marks in one pixel are drawn darker.
 * @param {Sheet} sheet
 * @param {Mark[]} marks
 */
function paintMarks({ pen, width, period, x, color }, marks) {
  const counts = LANES.map(() => new Uint16Array(Math.ceil(width) + 1));
  for (let index = Math.max(0, indexAt(marks, period.from)); index < marks.length; index++) {
    const lane = LANES.indexOf(marks[index].group);
    const column = Math.round(x(marks[index].at));
    if (lane >= 0 && column >= 0 && column <= width) counts[lane][column]++;
  }
  LANES.forEach((group, lane) => {
    const y = 1 + lane * LANE;
    pen.fillStyle = color('--line');
    pen.fillRect(0, y + LANE - 2, width, 1);
    pen.fillStyle = color(`--mark-${group}`);
    counts[lane].forEach((many, column) => {
      if (!many) return;
      pen.globalAlpha = Math.min(1, 0.55 + many * 0.15);
      pen.fillRect(column - 1, y, 2, LANE - 2);
    });
    pen.globalAlpha = 1;
  });
}

/**
 * @param {Sheet} sheet
 * @param {number} at
 */
function paintMoment({ pen, width, x, color }, at) {
  pen.fillStyle = color('--past-shade');
  pen.fillRect(x(at), 0, width - x(at), HEIGHT - AXIS);
  pen.fillStyle = color('--past');
  pen.fillRect(Math.round(x(at)) - 1, 0, 2, HEIGHT);
}
