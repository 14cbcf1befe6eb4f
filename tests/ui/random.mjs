// Properties on random values. A failure names its seed; SEED=… runs that case alone.

const RUNS = 300;

/** Random values from a seed (mulberry32). */
export class Random {
  #state;

  /** @param {number} seed */
  constructor(seed) {
    this.#state = seed >>> 0;
  }

  /** A number from 0 to below 1. */
  next() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number from 0 to below `limit`. @param {number} limit */
  below(limit) {
    return Math.floor(this.next() * limit);
  }

  /**
   * @template T
   * @param {T[]} items
   */
  pick(items) {
    return items[this.below(items.length)];
  }

  /**
   * @template T
   * @param {number} most
   * @param {() => T} make
   */
  list(most, make) {
    return Array.from({ length: this.below(most + 1) }, make);
  }

  /** A text with the characters that formats trip over. @param {number} [least] */
  text(least = 0, characters = 'ab1-_ ,=\\/?#&%+"\'<>{}äß→😀') {
    const all = [...characters];
    return Array.from({ length: least + this.below(8) }, () => this.pick(all)).join('');
  }
}

/**
 * Checks a property with many seeds, always the same ones.
 * @param {(random: Random) => void} property
 */
export function forAll(property) {
  const only = process.env.SEED;
  const seeds = only ? [Number(only)] : Array.from({ length: RUNS }, (_, index) => index + 1);
  for (const seed of seeds) {
    try {
      property(new Random(seed));
    } catch (error) {
      throw new Error(`the property fails with SEED=${seed}: ${error}`, { cause: error });
    }
  }
}
