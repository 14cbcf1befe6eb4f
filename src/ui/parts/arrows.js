// Arrow keys move the focus from link to link, by where the links are.
// @ts-check

/** @type {Record<string, [number, number]>} */
const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
/** Links nearer than this to the path run next to it, in pixels. */
const LEAST = 4;
/** How much more a pixel aside counts than one along the way. */
const ASIDE = 4;

/**
 * Handles a key in an element with links.
 * @param {KeyboardEvent & {currentTarget: HTMLElement, target: HTMLElement}} event
 */
export function walk(event) {
  const way = WAYS[event.key];
  if (!way || !event.target.matches('a')) return;
  const here = centre(event.target);
  let best = null;
  for (const link of event.currentTarget.querySelectorAll('a')) {
    if (link === event.target) continue;
    const there = centre(link);
    const [dx, dy] = [there.x - here.x, there.y - here.y];
    const along = dx * way[0] + dy * way[1];
    if (along < LEAST) continue;
    const aside = Math.abs(dx * way[1]) + Math.abs(dy * way[0]);
    const distance = along + aside * ASIDE;
    if (!best || distance < best.distance) best = { link, distance };
  }
  if (best) {
    event.preventDefault();
    best.link.focus();
    best.link.scrollIntoView({ block: 'nearest' });
  }
}

/** @param {Element} element */
function centre(element) {
  const box = element.getBoundingClientRect();
  return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
}
