// Light and dark: as the machine says, or as somebody chose.

import { effect, signal } from './html.js';

const dark = matchMedia('(prefers-color-scheme: dark)');
/** `auto`, `light` or `dark`. */
export const choice = signal(localStorage.getItem('kdaemon.theme') ?? 'auto');
/** What is shown: `light` or `dark`. */
export const theme = signal('dark');

const settle = () =>
  (theme.value = choice.peek() === 'auto' ? (dark.matches ? 'dark' : 'light') : choice.peek());
dark.addEventListener('change', settle);
effect(() => {
  localStorage.setItem('kdaemon.theme', choice.value);
  settle();
});
effect(() => {
  document.documentElement.dataset.theme = theme.value;
});
