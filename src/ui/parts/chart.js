// Small charts, as SVG, each with its newest value in words.
// @ts-check

import { html } from '../html.js';

const WIDTH = 240;
const HEIGHT = 48;
const STEPS_WIDTH = 800;
const STEPS_HEIGHT = 160;
/** Room above the highest value. */
const HEADROOM = 1.1;

/**
 * A line over time.
 * @param {{label: string, points: number[], limit?: number, text: string}} props  `limit`: the top
 *   of the
 *   scale is at least this
 */
export function Spark({ label, points, limit = 0, text }) {
  const top = Math.max(limit, ...points, 1e-9) * HEADROOM;
  const step = WIDTH / Math.max(1, points.length - 1);
  const line = points
    .map((value, index) => {
      const y = HEIGHT - (value / top) * HEIGHT;
      return `${(index * step).toFixed(1)},${y.toFixed(1)}`;
    })
    .join(' ');
  const end = ((points.length - 1) * step).toFixed(1);
  return html`<figure class="spark">
    <figcaption>${label}<b>${text}</b></figcaption>
    <svg
      viewBox=${`0 0 ${WIDTH} ${HEIGHT}`}
      preserveAspectRatio="none"
      role="img"
      aria-label=${`${label}: ${text}`}
    >
      ${
        points.length > 1 &&
        html`
          <polygon points=${`0,${HEIGHT} ${line} ${end},${HEIGHT}`} />
          <polyline points=${line} />
        `
      }
    </svg>
  </figure>`;
}

/**
 * @typedef {{label: string, className: string, steps: [number, number][]}} Line  `steps`: times
 *   (ms)
 *   and the values from then on
 */

/**
 * Values that change in steps, several lines on one axis. `describe` says what the chart shows.
 * @param {{label: string, lines: Line[], from: number, to: number, describe: string}} props
 */
export function Steps({ label, lines, from, to, describe }) {
  const values = lines.flatMap(({ steps }) => steps.map(([, value]) => value));
  const top = Math.max(1, ...values) * HEADROOM;
  /** @param {number} at */
  const x = (at) => (((at - from) / Math.max(1, to - from)) * STEPS_WIDTH).toFixed(1);
  /** @param {number} value */
  const y = (value) => (STEPS_HEIGHT - (value / top) * STEPS_HEIGHT).toFixed(1);
  /** @param {[number, number][]} steps */
  const path = (steps) => {
    let d = '';
    let before = 0;
    steps.forEach(([at, value], index) => {
      d += index ? ` L${x(at)},${y(before)} L${x(at)},${y(value)}` : `M${x(at)},${y(value)}`;
      before = value;
    });
    return d && `${d} L${x(to)},${y(before)}`;
  };
  return html`<figure class="steps-chart">
    <figcaption>
      ${label}${' '}
      ${lines.map(
        (line) => html`<span key=${line.label} class=${`legend ${line.className}`}>
          ${line.label}
        </span>`,
      )}
    </figcaption>
    <svg
      viewBox=${`0 0 ${STEPS_WIDTH} ${STEPS_HEIGHT}`}
      preserveAspectRatio="none"
      role="img"
      aria-label=${`${label}. ${describe}`}
    >
      ${lines.map(
        (line) => html`<path key=${line.label} class=${line.className} d=${path(line.steps)} />`,
      )}
    </svg>
    <div class="axis" aria-hidden="true">
      <span>${new Date(from).toLocaleString()}</span>
      <span>${new Date(to).toLocaleString()}</span>
    </div>
  </figure>`;
}
