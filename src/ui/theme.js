// Light and dark: as the system prefers, or as chosen.
// @ts-check

import { effect, signal } from './html.js';

const dark = matchMedia('(prefers-color-scheme: dark)');
/** `auto`, `light` or `dark`. */
export const choice = signal(localStorage.getItem('kdaemon.theme') ?? 'auto');
/** What is shown: `light` or `dark`. */
export const theme = signal('dark');

const settle = () => {
  const preferred = dark.matches ? 'dark' : 'light';
  theme.value = choice.peek() === 'auto' ? preferred : choice.peek();
};
dark.addEventListener('change', settle);
effect(() => {
  localStorage.setItem('kdaemon.theme', choice.value);
  settle();
});
effect(() => {
  document.documentElement.dataset.theme = theme.value;
});
