// Migrations are shown as labels that fly from card to card.
// @ts-check

import { isScrolling } from '../live.js';

const FLIGHT_MS = 900;
/** How many labels fly at one time. */
const FLIGHTS = 12;
/** More moves in a second than this are a storm. */
const STORM = 60;

/** @typedef {{name: string, from: Element, to: Element}} Flight */

/** @type {Set<Animation>} */
const flying = new Set();
/** @type {Flight[]} */
let taking = [];
/** How many moves there were in this second, and in the one before. */
let moves = { second: 0, now: 0, before: 0 };

/**
 * In a storm of moves no one can follow any of them, and each flight has the whole screen redrawn
 * in each frame.
 */
function isStorm() {
  const second = Math.floor(performance.now() / 1000);
  if (second !== moves.second) {
    moves = { second, now: 0, before: second === moves.second + 1 ? moves.now : 0 };
  }
  return ++moves.now > STORM || moves.before > STORM;
}

const isStill = () =>
  document.hidden || isScrolling() || matchMedia('(prefers-reduced-motion: reduce)').matches;

/**
 * A container moves from card to card. All flights that begin in one frame are measured first and
 * drawn afterwards:
 * one layout for all of them.
 * @param {string} name
 * @param {Element | undefined} from
 * @param {Element | undefined} to
 */
export function fly(name, from, to) {
  const isFull = flying.size + taking.length >= FLIGHTS;
  if (isStorm() || !from || !to || isFull || isStill()) return;
  if (!taking.length) requestAnimationFrame(takeOff);
  taking.push({ name, from, to });
}

function takeOff() {
  const measured = taking.map(({ name, from, to }) => ({
    name,
    start: from.getBoundingClientRect(),
    end: to.getBoundingClientRect(),
  }));
  taking = [];
  for (const { name, start, end } of measured) {
    const label = document.createElement('div');
    label.className = 'flight';
    label.setAttribute('aria-hidden', 'true');
    label.textContent = name;
    document.body.append(label);
    const flight = label.animate(
      [
        { transform: placeIn(start), opacity: 0.4 },
        { opacity: 1, offset: 0.2 },
        { transform: placeIn(end), opacity: 0.6 },
      ],
      { duration: FLIGHT_MS, easing: 'cubic-bezier(.4,0,.2,1)' },
    );
    flying.add(flight);
    flight.onfinish = flight.oncancel = () => {
      label.remove();
      flying.delete(flight);
    };
  }
}

/** @param {DOMRect} card */
const placeIn = (card) => `translate(${card.x + 8}px, ${card.y + Math.min(48, card.height / 2)}px)`;

/** Ends all flights, when the cards that they fly between go. */
export function land() {
  taking = [];
  flying.forEach((flight) => flight.cancel());
}
