// The strip of the time line: a slider over the marks of what happened.
// @ts-check

import { present } from '../clock.js';
import { effect, html, useEffect, useRef, useState } from '../html.js';
import { clock, moment } from '../pure/format.js';
import { indexAt } from '../pure/marks.js';
import { range, tape } from '../tape.js';
import { theme } from '../theme.js';
import { now, past, step, travel } from '../time.js';
import { HEIGHT, paint } from './strip-paint.js';

/** How often the strip is drawn at most. */
const DRAW_MS = 250;
/** Right of this share of the strip is now. */
const NOW = 0.995;

/** The period that is drawn, in milliseconds since 1970. */
function period() {
  const to = present();
  const { marks, from } = tape.peek();
  const start = range.peek() ? to - range.peek() : Math.min(from, marks[0]?.at ?? from);
  // A moment before the period extends it.
  const at = past.peek()?.at ?? to;
  return { from: Math.min(at < start ? at - (to - at) / 20 : start, to - 1000), to };
}

/** Goes by a share of the period. @param {number} share */
function leap(share) {
  const { from, to } = period();
  const next = (past.peek()?.at ?? to) + share * (to - from);
  if (next >= to) now();
  else travel({ at: Math.max(next, tape.peek().marks[0]?.at ?? from) });
}

function toFirst() {
  const [first] = tape.peek().marks;
  if (first) travel({ seq: first.seq });
}

/** @type {Record<string, () => void>} */
const KEYS = {
  ArrowLeft: () => step(-1),
  ArrowRight: () => step(1),
  PageUp: () => leap(-0.1),
  PageDown: () => leap(0.1),
  Home: toFirst,
  End: now,
};

export function Strip() {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const slider = useRef(/** @type {HTMLElement | null} */ (null));
  const dragging = useRef(false);
  const [hover, setHover] = useState(
    /** @type {{x: number, share: number, text: string} | null} */ (null),
  );
  useEffect(() => (canvas.current ? keepPainted(canvas.current) : undefined), []);

  /** @param {PointerEvent} event */
  const at = (event) => {
    const box = /** @type {HTMLElement} */ (slider.current).getBoundingClientRect();
    const { from, to } = period();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    return { x: share * box.width, share, time: from + share * (to - from) };
  };
  /** @param {{share: number, time: number}} point */
  const travelTo = ({ share, time }) => (share > NOW ? now() : travel({ at: time }));
  /** @param {PointerEvent & {currentTarget: HTMLElement}} event */
  const press = (event) => {
    dragging.current = true;
    event.currentTarget.setPointerCapture(event.pointerId);
    travelTo(at(event));
  };
  /** @param {PointerEvent} event */
  const move = (event) => {
    const point = at(event);
    setHover({ ...point, text: describe(point.time) });
    if (dragging.current) travelTo(point);
  };
  const release = () => (dragging.current = false);
  /** @param {KeyboardEvent} event */
  const key = (event) => {
    if (!KEYS[event.key]) return;
    event.preventDefault();
    KEYS[event.key]();
  };
  const p = past.value;
  const { from, to } = period();
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
    onPointerDown=${press}
    onPointerMove=${move}
    onPointerUp=${release}
    onPointerCancel=${release}
    onPointerLeave=${() => setHover(null)}
    onKeyDown=${key}
  >
    <canvas ref=${canvas} height=${HEIGHT} aria-hidden="true"></canvas>
    ${
      hover &&
      html`<span
        class="hover"
        style=${{ left: `${hover.x}px` }}
        data-right=${hover.share > 0.6}
      >
        ${hover.text}
      </span>`
    }
  </div>`;
}

/**
 * Draws the strip as it changes, until the returned function is called.
 * @param {HTMLCanvasElement} canvas
 */
function keepPainted(canvas) {
  const draw = () => paint(canvas, period(), tape.peek().marks, past.peek()?.at ?? null);
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let waiting;
  const soon = () => {
    waiting ??= setTimeout(() => {
      waiting = undefined;
      draw();
    }, DRAW_MS);
  };
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
  observer.observe(canvas);
  const timer = setInterval(soon, 1000);
  return () => {
    disposes.forEach((dispose) => dispose());
    observer.disconnect();
    clearInterval(timer);
    clearTimeout(waiting);
  };
}

/**
 * What happened at about a time: the nearest mark, in words.
 * @param {number} time in milliseconds since 1970
 */
function describe(time) {
  const { marks } = tape.peek();
  const { from, to } = period();
  const index = indexAt(marks, time);
  const [before, after] = [marks[index], marks[index + 1]];
  const isAfterNearer = !before || (after && after.at - time < time - before.at);
  const near = isAfterNearer ? after : before;
  if (!near || Math.abs(near.at - time) > (to - from) / 60) return moment(time);
  const says = near.event ? near.event.says : near.kind;
  return `${clock(near.at)} #${near.seq} ${says}`;
}
