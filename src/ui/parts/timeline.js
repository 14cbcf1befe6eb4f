// The time line, on top of every view: what happened, and the controls that move the whole UI
// through time.
// @ts-check

import { present } from '../clock.js';
import { html, useState } from '../html.js';
import { GROUPS } from '../pure/events.js';
import { moment } from '../pure/format.js';
import { parsePoint, POINT_EXAMPLES } from '../pure/point.js';
import { go } from '../router.js';
import { RANGES, load, loading, range, tape } from '../tape.js';
import {
  SPEEDS,
  now,
  past,
  play,
  refused,
  speed,
  step,
  stop,
  travel,
  travelling,
} from '../time.js';
import { Failure } from './bits.js';
import { Strip } from './strip.js';

/** How fast the past is played at first. */
const SPEED = 10;

export function TimeLine() {
  return html`<section
    class=${`timeline ${past.value ? 'is-past' : ''}`}
    aria-label="Time line"
  >
    <${Strip} />
    <div class="controls">
      <${Where} />
      <span class="buttons">
        <${Steps} />
        <${Compare} />
        <${Jump} />
        <${Range} />
      </span>
    </div>
    ${refused.value && html`<${Failure} problem=${refused.value} what="the past (time travel)" />`}
  </section>`;
}

/** Which moment is shown. */
function Where() {
  return html`<span class="where" role="status" aria-live="polite">
    <${Moment} />
    ${loading.value && html`<span class="faint"> loading the log …</span>`}
    ${tape.value.cut && html`<span class="faint"> not all events of this range are shown</span>`}
  </span>`;
}

function Moment() {
  const p = past.value;
  if (travelling.value) {
    return html`<span class="spinner" aria-hidden="true"></span>going to ${travelling.value} …`;
  }
  if (p) {
    return html`
      <b class="past-mark">The past</b>
      ${` ${moment(p.at)} `}
      <span class="faint">event ${p.seq}, read-only</span>
    `;
  }
  return html`
    <b class="now-mark">Now</b>${' '}
    <span class="legend-marks" aria-hidden="true">
      ${Object.entries(GROUPS).map(
        ([group, { label }]) => html`<i key=${group} class=${`mark-${group}`}></i>${label} `,
      )}
    </span>
  `;
}

/** Stepping and playing. */
function Steps() {
  const isPast = past.value !== null;
  const playing = speed.value > 0;
  return html`
    ${
      isPast &&
      html`<button type="button" class="primary" onClick=${now} aria-keyshortcuts="n">
        Back to now <kbd>n</kbd>
      </button>`
    }
    <button
      type="button"
      onClick=${() => step(-1)}
      title="One event back"
      aria-label="One event back"
    >
      ◂
    </button>
    ${
      isPast &&
      html`
        <button
          type="button"
          onClick=${() => (playing ? stop() : play(SPEED))}
          aria-label=${playing ? 'Pause' : 'Play'}
        >
          ${playing ? '❚❚' : '▶'}
        </button>
        <button
          type="button"
          onClick=${() => step(1)}
          title="One event forward"
          aria-label="One event forward"
        >
          ▸
        </button>
        <select
          aria-label="Speed"
          value=${speed.value || ''}
          onChange=${(/** @type {any} */ event) =>
            event.target.value && play(Number(event.target.value))}
        >
          <option value="">speed</option>
          ${SPEEDS.map((one) => html`<option key=${one} value=${one}>${one}×</option>`)}
        </select>
      `
    }
  `;
}

/** Two moments make a comparison: the first press keeps one, the second opens it. */
function Compare() {
  const [from, setFrom] = useState(/** @type {number | null} */ (null));
  const p = past.value;
  if (!p && from === null) return null;
  const press = () => {
    if (from === null) {
      setFrom(p?.seq ?? null);
    } else {
      go(['diff'], { from, to: p?.seq });
      setFrom(null);
    }
  };
  const label = from === null ? 'Compare from here' : `Compare ${from} with ${p?.seq ?? 'now'}`;
  return html`<button
    type="button"
    onClick=${press}
    title="Keep this moment, then go to another one"
  >
    ${label}
  </button>`;
}

/** Goes to a moment as it is typed. */
function Jump() {
  const [typed, setTyped] = useState('');
  const [bad, setBad] = useState(false);
  /** @param {SubmitEvent} event */
  const submit = (event) => {
    event.preventDefault();
    const point = parsePoint(typed, present());
    setBad(!point);
    if (point) travel(point).then(() => setTyped(''));
  };
  /** @param {{currentTarget: HTMLInputElement}} event */
  const input = ({ currentTarget }) => {
    setTyped(currentTarget.value);
    setBad(false);
  };
  return html`<form class="inline" onSubmit=${submit}>
    <input
      type="text"
      class="time-input"
      placeholder="03:02, 10 min ago, #812"
      aria-label="Go to a time or an event"
      aria-invalid=${bad}
      value=${typed}
      onInput=${input}
    />
    ${' '}
    <button>Go</button>
    ${bad && html`<span class="error" role="alert">Write ${POINT_EXAMPLES}.</span>`}
  </form>`;
}

/** How much of the log the strip shows. */
function Range() {
  /** @param {{currentTarget: HTMLSelectElement}} event */
  const choose = ({ currentTarget }) => {
    range.value = Number(currentTarget.value);
    load().catch(() => {});
  };
  return html`<select aria-label="Range of the time line" value=${range.value} onChange=${choose}>
    ${RANGES.map(([ms, label]) => html`<option key=${ms} value=${ms}>${label}</option>`)}
  </select>`;
}
