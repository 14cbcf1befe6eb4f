// The cluster as rows: what is shown now, or what was at a moment of the past. Changes are taken in batches, and whoever
// shows a part of it hears of that part alone.

import { batch, signal } from './html.js';

export const KINDS = ['nodes', 'applications', 'containers'];

/** So many keys are remembered. */
const KEYS = 200_000;
const keys = new Map();

/** What a text is sorted by: `web-10` comes after `web-9`. Compared with `<`, which is much faster than a collator. */
export function natural(text) {
  let key = keys.get(text);
  if (key === undefined) {
    key = text.toLowerCase().replace(/\d+/g, (digits) => digits.padStart(12, '0'));
    if (keys.size >= KEYS) keys.clear();
    keys.set(text, key);
  }
  return key;
}

const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
export const byName = (a, b) => compare(natural(a.name), natural(b.name));

export class World {
  nodes = new Map();
  applications = new Map();
  containers = new Map();
  /** Containers by node and by application: Map of Maps. */
  byNode = new Map();
  byApplication = new Map();
  /** Counts batches that changed a kind. */
  changed = { nodes: signal(0), applications: signal(0), containers: signal(0) };
  /** Counts additions, removals and renamings of nodes: what orders them. */
  order = signal(0);
  /** Called with (row, from, to) when a container has another node than before. */
  onMove = null;
  #cards = new Map();
  #dirty = new Set();
  #dirtyCards = new Set();

  /** What changes when a node or one of its containers does. */
  card(id) {
    let card = this.#cards.get(id);
    if (!card) this.#cards.set(id, (card = signal(0, { unwatched: () => this.#cards.delete(id) })));
    return card;
  }

  /** Takes a row over, unless it is older than the one that is known (in the past time goes backwards too). */
  put(kind, row, backwards = false) {
    const before = this[kind].get(row.id);
    if (before && (backwards ? before.seq === row.seq : before.seq >= row.seq)) return;
    this[kind].set(row.id, row);
    this.#dirty.add(kind);
    if (kind === 'nodes') {
      this.#dirtyCards.add(row.id);
      if (!before || before.name !== row.name) this.#dirty.add('order');
    }
    if (kind === 'containers') {
      if (before) this.#unlink(before, row);
      link(this.byNode, row.node_id, row);
      link(this.byApplication, row.application_id, row);
      if (row.node_id) this.#dirtyCards.add(row.node_id);
      if (before?.node_id && row.node_id && before.node_id !== row.node_id)
        this.onMove?.(row, before.node_id, row.node_id);
    }
  }

  remove(kind, id) {
    const before = this[kind].get(id);
    if (!before) return;
    this[kind].delete(id);
    this.#dirty.add(kind);
    if (kind === 'nodes') this.#dirty.add('order');
    if (kind === 'containers') this.#unlink(before, {});
  }

  /** Tells everybody what changed since the last time. */
  commit() {
    batch(() => {
      this.commitKinds();
      this.commitCards(Infinity);
    });
  }

  /** Tells whoever shows many rows of a kind. */
  commitKinds() {
    batch(() => {
      for (const kind of this.#dirty) (kind === 'order' ? this.order : this.changed[kind]).value++;
    });
    this.#dirty.clear();
  }

  /** Tells so many of the cards that are in sight; whether there are more. The one that waits longest is first. */
  commitCards(most) {
    batch(() => {
      for (const id of this.#dirtyCards) {
        const card = this.#cards.get(id);
        if (card && most-- <= 0) break;
        this.#dirtyCards.delete(id);
        if (card) card.value++;
      }
    });
    return this.#dirtyCards.size > 0;
  }

  /** A row by its id or by its name. */
  find(kind, which) {
    const found = this[kind].get(which);
    if (found) return found;
    for (const row of this[kind].values()) if (row.name === which) return row;
    return null;
  }

  name(kind, id) {
    return this[kind].get(id)?.name ?? null;
  }

  /** Takes a whole state over, as a change from what there was. */
  become(state) {
    for (const kind of KINDS) {
      const ids = new Set(state[kind].map((row) => row.id));
      for (const id of [...this[kind].keys()]) if (!ids.has(id)) this.remove(kind, id);
      for (const row of state[kind]) this.put(kind, row, true);
    }
    this.commit();
  }

  #unlink(before, after) {
    if (before.node_id && before.node_id !== after.node_id) {
      unlink(this.byNode, before.node_id, before.id);
      this.#dirtyCards.add(before.node_id);
    }
    if (before.application_id !== after.application_id)
      unlink(this.byApplication, before.application_id, before.id);
  }
}

function link(index, key, row) {
  if (!key) return;
  let rows = index.get(key);
  if (!rows) index.set(key, (rows = new Map()));
  rows.set(row.id, row);
}

function unlink(index, key, id) {
  const rows = index.get(key);
  rows?.delete(id);
  if (rows && !rows.size) index.delete(key);
}
