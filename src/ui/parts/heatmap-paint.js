// Draws the heat map.
// @ts-check

/** @import { NodeRow } from '../types.js' */
/** @import { World } from '../world.js' */

import { isTrouble } from './card.js';

/** The size of a cell, in CSS pixels. */
export const LARGEST = 44;
const SMALLEST = 10;

/** @typedef {Record<'low' | 'high' | 'down' | 'unknown' | 'trouble' | 'line', string>} Colors */

/**
 * Draws all cells, as large as the room allows; how they are arranged.
 * @param {HTMLCanvasElement} canvas
 * @param {NodeRow[]} nodes
 * @param {World} world
 */
export function paint(canvas, nodes, world) {
  const width = canvas.parentElement?.clientWidth ?? 0;
  const room = Math.max(240, innerHeight * 0.62);
  let cell = LARGEST;
  /** @param {number} size */
  const heightOf = (size) => Math.ceil(nodes.length / Math.floor(width / size)) * size;
  while (cell > SMALLEST && heightOf(cell) > room) cell--;
  const columns = Math.max(1, Math.floor(width / cell));
  const height = Math.ceil(nodes.length / columns) * cell;
  const ratio = devicePixelRatio || 1;
  const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.width = wide;
    canvas.height = high;
    canvas.style.height = `${height}px`;
  }
  const pen = canvas.getContext('2d');
  if (!pen) return { columns, cell };
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const colors = colorsOf(canvas);
  let most = 1;
  for (const node of world.nodes.values()) most = Math.max(most, node.container_count);
  nodes.forEach(({ id }, index) => {
    const node = world.nodes.get(id);
    if (!node) return;
    const [x, y] = [(index % columns) * cell, Math.floor(index / columns) * cell];
    const rows = [...(world.byNode.get(id)?.values() ?? [])];
    pen.save();
    pen.translate(x, y);
    paintCell(pen, cell - 2, node, node.container_count / (node.capacity || most), colors);
    if (rows.some(isTrouble)) paintTrouble(pen, cell - 2, colors);
    pen.restore();
  });
  return { columns, cell };
}

/**
 * @param {HTMLCanvasElement} canvas
 * @returns {Colors}
 */
function colorsOf(canvas) {
  const style = getComputedStyle(canvas);
  /** @param {string} name */
  const color = (name) => style.getPropertyValue(name).trim();
  return {
    low: color('--heat-low'),
    high: color('--heat-high'),
    down: color('--is-failed'),
    unknown: color('--is-down'),
    trouble: color('--is-lost'),
    line: color('--text'),
  };
}

/**
 * @param {CanvasRenderingContext2D} pen at the cell's corner
 * @param {number} side
 * @param {NodeRow} node
 * @param {number} load from 0 to 1
 * @param {Colors} colors
 */
function paintCell(pen, side, node, load, colors) {
  pen.fillStyle =
    node.state === 'UP' ? colors.low : node.state === 'DOWN' ? colors.down : colors.unknown;
  pen.fillRect(0, 0, side, side);
  if (node.state === 'UP') {
    pen.globalAlpha = Math.min(1, load);
    pen.fillStyle = colors.high;
    pen.fillRect(0, 0, side, side);
    pen.globalAlpha = 1;
  } else if (node.state === 'DOWN') {
    // A cross too: not everybody can tell the colours apart.
    pen.strokeStyle = colors.line;
    pen.lineWidth = Math.max(1, side / 16);
    pen.beginPath();
    pen.moveTo(side * 0.3, side * 0.3);
    pen.lineTo(side * 0.7, side * 0.7);
    pen.moveTo(side * 0.7, side * 0.3);
    pen.lineTo(side * 0.3, side * 0.7);
    pen.stroke();
  }
  if (node.availability !== 'active') {
    pen.strokeStyle = colors.line;
    pen.lineWidth = 1.5;
    pen.setLineDash([3, 2]);
    pen.strokeRect(1.5, 1.5, side - 3, side - 3);
  }
}

/**
 * A corner for a node with containers in trouble.
 * @param {CanvasRenderingContext2D} pen at the cell's corner
 * @param {number} side
 * @param {Colors} colors
 */
function paintTrouble(pen, side, colors) {
  pen.fillStyle = colors.trouble;
  pen.beginPath();
  pen.moveTo(side, 0);
  pen.lineTo(side, side * 0.55);
  pen.lineTo(side * 0.45, 0);
  pen.fill();
}
