// The cluster as rows, as it is now or as it was. Changes are taken over in batches, and each part
// of the page is notified of the rows that it shows and of no others.
// @ts-check

/** @import { ApplicationRow, ContainerRow, Kind, NodeRow, Row, State } from './types.js' */
/** @import { Signal } from './vendor/signals.js' */

import { batch, signal } from './html.js';

/** @type {Kind[]} */
export const KINDS = ['nodes', 'applications', 'containers'];

export class World {
  /** @type {Map<string, NodeRow>} */
  nodes = new Map();
  /** @type {Map<string, ApplicationRow>} */
  applications = new Map();
  /** @type {Map<string, ContainerRow>} */
  containers = new Map();
  /** Containers by the id of their node. @type {Map<string, Map<string, ContainerRow>>} */
  byNode = new Map();
  /** Containers by the id of their application. @type {Map<string, Map<string, ContainerRow>>} */
  byApplication = new Map();
  /** Counts the batches that changed a kind. */
  changed = { nodes: signal(0), applications: signal(0), containers: signal(0) };
  /** Counts additions, removals and renamings of nodes: what their order depends on. */
  order = signal(0);
  /**
   * Called when a container moved from one node to another.
   * @type {((row: ContainerRow, from: string, to: string) => void) | null}
   */
  onMove = null;
  /** @type {Map<string, Signal<number>>} */
  #cards = new Map();
  /** @type {Set<Kind | 'order'>} */
  #dirty = new Set();
  /** @type {Set<string>} */
  #dirtyCards = new Set();

  /**
   * A signal that changes when a node or one of its containers does.
   * @param {string} id of the node
   */
  card(id) {
    let card = this.#cards.get(id);
    if (!card) {
      card = signal(0, { unwatched: () => this.#cards.delete(id) });
      this.#cards.set(id, card);
    }
    return card;
  }

  /**
   * Takes a row over, unless it is older than the known one. On a journey through the past
   * (`backwards`) older rows are taken too.
   * @param {Kind} kind
   * @param {Row} row
   */
  put(kind, row, backwards = false) {
    const before = this[kind].get(row.id);
    if (before && (backwards ? before.seq === row.seq : before.seq >= row.seq)) return;
    /** @type {Map<string, Row>} */ (this[kind]).set(row.id, row);
    this.#dirty.add(kind);
    if (kind === 'nodes') {
      this.#dirtyCards.add(row.id);
      if (!before || before.name !== row.name) this.#dirty.add('order');
    }
    if (kind === 'containers') {
      const [was, is] = /** @type {[ContainerRow | undefined, ContainerRow]} */ ([before, row]);
      if (was) this.#unlink(was, is);
      link(this.byNode, is.node_id, is);
      link(this.byApplication, is.application_id, is);
      if (is.node_id) this.#dirtyCards.add(is.node_id);
      if (was?.node_id && is.node_id && was.node_id !== is.node_id) {
        this.onMove?.(is, was.node_id, is.node_id);
      }
    }
  }

  /**
   * @param {Kind} kind
   * @param {string} id
   */
  remove(kind, id) {
    const before = this[kind].get(id);
    if (!before) return;
    this[kind].delete(id);
    this.#dirty.add(kind);
    if (kind === 'nodes') this.#dirty.add('order');
    if (kind === 'containers') this.#unlink(/** @type {ContainerRow} */ (before), {});
  }

  /** Notifies all parts of what changed since the last commit. */
  commit() {
    batch(() => {
      this.commitKinds();
      this.commitCards(Infinity);
    });
  }

  /** Notifies the parts that show many rows of a kind. */
  commitKinds() {
    batch(() => {
      for (const kind of this.#dirty) (kind === 'order' ? this.order : this.changed[kind]).value++;
    });
    this.#dirty.clear();
  }

  /**
   * Notifies at most `most` of the visible cards, the longest waiting first.
   * @param {number} most
   * @returns {boolean} whether more cards wait
   */
  commitCards(most) {
    let left = most;
    batch(() => {
      for (const id of this.#dirtyCards) {
        const card = this.#cards.get(id);
        if (card && left-- <= 0) break;
        this.#dirtyCards.delete(id);
        if (card) card.value++;
      }
    });
    return this.#dirtyCards.size > 0;
  }

  /**
   * A row by its id or by its name.
   * @template {Kind} K
   * @param {K} kind
   * @param {string} which
   * @returns {(K extends 'nodes' ? NodeRow : K extends 'applications' ? ApplicationRow :
   *   ContainerRow) | null}
   */
  find(kind, which) {
    const rows = /** @type {Map<string, any>} */ (this[kind]);
    const found = rows.get(which);
    if (found) return found;
    for (const row of rows.values()) if (row.name === which) return row;
    return null;
  }

  /**
   * @param {Kind} kind
   * @param {string} id
   */
  name(kind, id) {
    return this[kind].get(id)?.name ?? null;
  }

  /**
   * Takes a whole state over, as changes from the present one.
   * @param {State} state
   */
  become(state) {
    for (const kind of KINDS) {
      const ids = new Set(state[kind].map((row) => row.id));
      for (const id of [...this[kind].keys()]) if (!ids.has(id)) this.remove(kind, id);
      for (const row of state[kind]) this.put(kind, row, true);
    }
    this.commit();
  }

  /**
   * @param {ContainerRow} before
   * @param {Partial<ContainerRow>} after
   */
  #unlink(before, after) {
    if (before.node_id && before.node_id !== after.node_id) {
      unlink(this.byNode, before.node_id, before.id);
      this.#dirtyCards.add(before.node_id);
    }
    if (before.application_id && before.application_id !== after.application_id) {
      unlink(this.byApplication, before.application_id, before.id);
    }
  }
}

/**
 * @param {Map<string, Map<string, ContainerRow>>} index
 * @param {string | null | undefined} key
 * @param {ContainerRow} row
 */
function link(index, key, row) {
  if (!key) return;
  let rows = index.get(key);
  if (!rows) index.set(key, (rows = new Map()));
  rows.set(row.id, row);
}

/**
 * @param {Map<string, Map<string, ContainerRow>>} index
 * @param {string} key
 * @param {string} id
 */
function unlink(index, key, id) {
  const rows = index.get(key);
  rows?.delete(id);
  if (rows && !rows.size) index.delete(key);
}
