// Small charts, as SVG: a line over time with its newest value in words.

import { html } from '../html.js';

const WIDTH = 240;
const HEIGHT = 48;

/** @param {{label: string, points: number[], limit?: number, text: string}} given  `limit`: the top of the scale at least. */
export function Spark({ label, points, limit = 0, text }) {
  const top = Math.max(limit, ...points, 1e-9) * 1.1;
  const step = WIDTH / Math.max(1, points.length - 1);
  const xy = points.map(
    (value, index) =>
      `${(index * step).toFixed(1)},${(HEIGHT - (value / top) * HEIGHT).toFixed(1)}`,
  );
  return html`<figure class="spark">
    <figcaption>
      ${label}
      <b>${text}</b>
    </figcaption>
    <svg
      viewBox=${`0 0 ${WIDTH} ${HEIGHT}`}
      preserveAspectRatio="none"
      role="img"
      aria-label=${`${label}: ${text}`}
    >
      ${
        xy.length > 1 &&
        html`
          <polygon
            points=${`0,${HEIGHT} ${xy.join(' ')} ${((points.length - 1) * step).toFixed(1)},${HEIGHT}`}
          />
          <polyline points=${xy.join(' ')} />
        `
      }
    </svg>
  </figure>`;
}

/** Steps over time, several lines on one axis: [{label, className, steps: [[ms, value]]}]. */
export function Steps({ label, lines, from, to, describe }) {
  const width = 800;
  const height = 160;
  const top = Math.max(1, ...lines.flatMap(({ steps }) => steps.map(([, value]) => value))) * 1.1;
  const x = (at) => (((at - from) / Math.max(1, to - from)) * width).toFixed(1);
  const y = (value) => (height - (value / top) * height).toFixed(1);
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
      viewBox=${`0 0 ${width} ${height}`}
      preserveAspectRatio="none"
      role="img"
      aria-label=${`${label}. ${describe}`}
    >
      ${lines.map((line) => html`<path key=${line.label} class=${line.className} d=${path(line.steps)} />`)}
    </svg>
    <div class="axis" aria-hidden="true">
      <span>${new Date(from).toLocaleString()}</span>
      <span>${new Date(to).toLocaleString()}</span>
    </div>
  </figure>`;
}
