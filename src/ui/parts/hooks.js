// Hooks that several parts share.
// @ts-check

import { Problem } from '../api.js';
import { effect, useEffect, useState } from '../html.js';

/**
 * Loads something, and again when `keys` change. What was loaded stays until the next answer.
 * @template Data
 * @param {(abort: AbortSignal) => Promise<Data>} load
 * @param {unknown[]} keys
 */
export function useLoad(load, keys) {
  /** @typedef {{data: Data | null, problem: Problem | null, busy: boolean}} Loaded */
  const [state, set] = useState(/** @type {Loaded} */ ({ data: null, problem: null, busy: true }));
  useEffect(() => {
    const abort = new AbortController();
    set((before) => ({ ...before, busy: true }));
    load(abort.signal).then(
      (data) => !abort.signal.aborted && set({ data, problem: null, busy: false }),
      (problem) => {
        if (abort.signal.aborted) return;
        if (!(problem instanceof Problem)) throw problem;
        set({ data: null, problem, busy: false });
      },
    );
    return () => abort.abort();
  }, keys);
  return state;
}

/**
 * The newest value, once it has not changed for a while.
 * @template Value
 * @param {Value} value
 */
export function useSettled(value, ms = 300) {
  const [settled, set] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => set(value), ms);
    return () => clearTimeout(timer);
  }, [value, ms]);
  return settled;
}

/**
 * Counts changes of signals, at most once in `ms`: a long list is redrawn as often as people can
 * see it, not as
 * often as something happens.
 * @param {() => unknown} look reads the signals
 * @param {number} ms
 */
export function useChanged(look, ms) {
  const [stamp, set] = useState(0);
  useEffect(() => {
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    // The first time too: something may have changed since the component was drawn.
    const dispose = effect(() => {
      look();
      timer ??= setTimeout(() => {
        timer = undefined;
        set((before) => before + 1);
      }, ms);
    });
    return () => {
      dispose();
      clearTimeout(timer);
    };
  }, []);
  return stamp;
}
