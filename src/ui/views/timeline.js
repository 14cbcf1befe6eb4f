// The time line, on top of every view: what happened as marks, and the handle that moves the whole UI through time.

import { effect, html, useEffect, useRef, useState } from '../html.js';
import { go } from '../router.js';
import { GROUPS, clock, day, moment, say } from '../words.js';
import { RANGES, indexAt, load, loading, range, tape } from '../tape.js';
import {
  SPEEDS,
  now,
  parsePoint,
  past,
  play,
  refused,
  shown,
  speed,
  step,
  stop,
  travel,
  travelling,
} from '../time.js';
import { Failure } from '../parts/bits.js';
import { theme } from '../theme.js';

const LANES = Object.keys(GROUPS);
const HEIGHT = 56;
const LANE = 10;
const AXIS = 14;
/** The strip is drawn at most so often: marks do not move faster than that. */
const DRAW_MS = 250;
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
  86400e3,
  7 * 86400e3,
];

export function TimeLine() {
  return html`<section class=${`timeline ${past.value ? 'is-past' : ''}`} aria-label="Time line">
    <${Strip} />
    <${Controls} />
    ${refused.value && html`<${Failure} problem=${refused.value} what="the past (time travel)" />`}
  </section>`;
}

/** The stretch that is drawn, in ms. */
function stretch() {
  const to = Date.now();
  const { marks, from } = tape.peek();
  const start = range.peek() ? to - range.peek() : Math.min(from, marks[0]?.at ?? from);
  // A moment before it is shown too.
  const shownAt = past.peek()?.at ?? to;
  const before = shownAt < start ? shownAt - (to - shownAt) / 20 : start;
  return { from: Math.min(before, to - 1000), to };
}

function Strip() {
  const canvas = useRef();
  const slider = useRef();
  const [hover, setHover] = useState(null);
  const dragging = useRef(false);

  useEffect(() => {
    const draw = () => canvas.current && paint(canvas.current);
    let waiting = null;
    const soon = () =>
      (waiting ??= setTimeout(() => {
        waiting = null;
        draw();
      }, DRAW_MS));
    const disposes = [
      effect(() => {
        tape.value;
        soon();
      }),
      effect(() => {
        past.value;
        range.value;
        theme.value;
        requestAnimationFrame(draw);
      }),
    ];
    const observer = new ResizeObserver(draw);
    observer.observe(canvas.current);
    const timer = setInterval(soon, 1000);
    return () => {
      disposes.forEach((dispose) => dispose());
      observer.disconnect();
      clearInterval(timer);
      clearTimeout(waiting);
    };
  }, []);

  const at = (event) => {
    const box = slider.current.getBoundingClientRect();
    const { from, to } = stretch();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    return { x: share * box.width, share, time: from + share * (to - from) };
  };
  const move = (event) => {
    const point = at(event);
    setHover({ ...point, text: describe(point.time) });
    if (dragging.current) travelTo(point);
  };
  const travelTo = ({ share, time }) => (share > 0.995 ? now() : travel({ at: time }));
  const keys = {
    ArrowLeft: () => step(-1),
    ArrowRight: () => step(1),
    PageUp: () => leap(-0.1),
    PageDown: () => leap(0.1),
    Home: () => tape.peek().marks[0] && travel({ seq: tape.peek().marks[0].seq }),
    End: now,
  };
  const leap = (share) => {
    const { from, to } = stretch();
    const next = (past.peek()?.at ?? to) + share * (to - from);
    return next >= to ? now() : travel({ at: Math.max(next, tape.peek().marks[0]?.at ?? from) });
  };
  const p = past.value;
  const { from, to } = stretch();
  return html`<div
    ref=${slider}
    class="strip"
    role="slider"
    tabindex="0"
    aria-label="Moment that is shown"
    aria-valuemin=${Math.round(from / 1000)}
    aria-valuemax=${Math.round(to / 1000)}
    aria-valuenow=${Math.round((p?.at ?? to) / 1000)}
    aria-valuetext=${p ? `${moment(p.at)}, event ${p.seq}` : 'now'}
    onPointerDown=${(event) => {
      dragging.current = true;
      event.currentTarget.setPointerCapture(event.pointerId);
      travelTo(at(event));
    }}
    onPointerMove=${move}
    onPointerUp=${() => (dragging.current = false)}
    onPointerCancel=${() => (dragging.current = false)}
    onPointerLeave=${() => setHover(null)}
    onKeyDown=${(event) => {
      if (keys[event.key]) {
        event.preventDefault();
        keys[event.key]();
      }
    }}
  >
    <canvas ref=${canvas} height=${HEIGHT} aria-hidden="true"></canvas>
    ${
      hover &&
      html`<span class="hover" style=${{ left: `${hover.x}px` }} data-right=${hover.share > 0.6}>
        ${hover.text}
      </span>`
    }
  </div>`;
}

/** What happened about then: the nearest mark, in words. */
function describe(time) {
  const { marks } = tape.peek();
  const { from, to } = stretch();
  const near = [marks[indexAt(marks, time)], marks[indexAt(marks, time) + 1]]
    .filter(Boolean)
    .sort((a, b) => Math.abs(a.at - time) - Math.abs(b.at - time))[0];
  if (!near || Math.abs(near.at - time) > (to - from) / 60) return moment(time);
  return `${clock(near.at)} #${near.seq} ${near.event ? say(near.event, shown.peek()) : near.kind}`;
}

function paint(canvas) {
  const ratio = devicePixelRatio || 1;
  const width = canvas.clientWidth;
  if (!width) return;
  if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
  if (canvas.height !== HEIGHT * ratio) canvas.height = HEIGHT * ratio;
  const style = getComputedStyle(canvas);
  const color = (name) => style.getPropertyValue(name).trim();
  const pen = canvas.getContext('2d');
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, HEIGHT);
  const { from, to } = stretch();
  const x = (time) => ((time - from) / (to - from)) * width;

  // The axis.
  const every = TICKS.find((ms) => ((to - from) / ms) * 76 < width) ?? TICKS.at(-1);
  const zone = new Date(to).getTimezoneOffset() * 60e3;
  pen.font = `11px ${style.fontFamily}`;
  pen.fillStyle = color('--muted');
  for (let time = Math.ceil((from - zone) / every) * every + zone; time < to; time += every) {
    const text =
      every >= 86400e3 ? day(time).slice(5) : every < 60e3 ? clock(time) : clock(time).slice(0, 5);
    pen.fillRect(Math.round(x(time)), HEIGHT - AXIS, 1, 3);
    if (x(time) < width - 30) pen.fillText(text, x(time) + 3, HEIGHT - 2);
  }

  // Marks: one lane for each group, more in one pixel stand out more.
  const { marks } = tape.peek();
  const counts = LANES.map(() => new Uint16Array(Math.ceil(width) + 1));
  for (let index = Math.max(0, indexAt(marks, from)); index < marks.length; index++) {
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

  const p = past.peek();
  if (p) {
    pen.fillStyle = color('--past-shade');
    pen.fillRect(x(p.at), 0, width - x(p.at), HEIGHT - AXIS);
    pen.fillStyle = color('--past');
    pen.fillRect(Math.round(x(p.at)) - 1, 0, 2, HEIGHT);
  }
}

function Controls() {
  const [typed, setTyped] = useState('');
  const [bad, setBad] = useState(false);
  const [from, setFrom] = useState(null);
  const p = past.value;
  const submit = (event) => {
    event.preventDefault();
    const point = parsePoint(typed);
    setBad(!point);
    if (point) travel(point).then(() => setTyped(''));
  };
  const compare = () => {
    if (from === null) setFrom(p.seq);
    else {
      go(['diff'], { from, to: p ? p.seq : null });
      setFrom(null);
    }
  };
  return html`<div class="controls">
    <span class="where" role="status" aria-live="polite">
      ${
        travelling.value
          ? html`
            <span class="spinner" aria-hidden="true"></span>going to ${travelling.value} …
          `
          : p
            ? html`
              <b class="past-mark">The past</b> ${moment(p.at)}${' '}
              <span class="faint">event ${p.seq}, read-only</span>
            `
            : html`
              <b class="now-mark">Now</b>${' '}
              <span class="legend-marks" aria-hidden="true">
                ${LANES.map(
                  (group) => html`
                    <i key=${group} class=${`mark-${group}`}></i>
                    ${GROUPS[group].label}${' '}
                  `,
                )}
              </span>
            `
      }
      ${
        loading.value &&
        html`
          ${' '}
          <span class="faint">reading the log …</span>
        `
      }
      ${
        tape.value.cut &&
        html`
          ${' '}
          <span class="faint">not all marks of this stretch fit</span>
        `
      }
    </span>
    <span class="buttons">
      ${
        p &&
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
        p &&
        html`
          <button
            type="button"
            onClick=${() => (speed.value ? stop() : play(10))}
            aria-label=${speed.value ? 'Pause' : 'Play'}
          >
            ${speed.value ? '❚❚' : '▶'}
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
            onChange=${(event) => event.target.value && play(Number(event.target.value))}
          >
            <option value="">speed</option>
            ${SPEEDS.map(
              (one) => html`<option key=${one} value=${one}>
                ${one}×
              </option>`,
            )}
          </select>
        `
      }
      ${
        (p || from !== null) &&
        html`<button
          type="button"
          onClick=${compare}
          title="Mark this moment, then go to another one"
        >
          ${from === null ? 'Compare from here' : `Compare ${from} with ${p ? p.seq : 'now'}`}
        </button>`
      }
      <form class="inline" onSubmit=${submit}>
        <input
          type="text"
          class="time-input"
          placeholder="03:02, 10 min ago, #812"
          aria-label="Go to a time or an event"
          aria-invalid=${bad}
          value=${typed}
          onInput=${(event) => {
            setTyped(event.target.value);
            setBad(false);
          }}
        />
        <button>Go</button>
        ${
          bad &&
          html`<span class="error" role="alert">
            Write 03:02, 2026-11-22 03:02, 10 min, or #812.
          </span>`
        }
      </form>
      <select
        aria-label="Stretch of the time line"
        value=${range.value}
        onChange=${(event) => {
          range.value = Number(event.target.value);
          load().catch(() => {});
        }}
      >
        ${RANGES.map(
          ([ms, label]) => html`<option key=${ms} value=${ms}>
            ${label}
          </option>`,
        )}
      </select>
    </span>
  </div>`;
}
