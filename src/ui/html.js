// What pages are built with: markup, hooks and signals, from one place.
// @ts-check

import { h, render, Fragment } from './vendor/preact.js';
import htm from './vendor/htm.js';

/** Markup: html`<p>${text}</p>`. Values are text or attributes, never markup. */
export const html = htm.bind(h);
export { render, Fragment };
export {
  useCallback,
  useEffect,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from './vendor/hooks.js';
export {
  batch,
  computed,
  effect,
  signal,
  untracked,
  useComputed,
  useSignal,
  useSignalEffect,
} from './vendor/signals.js';
