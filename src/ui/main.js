// The frame of the web UI, and which view is in it. Everything starts here.
// @ts-check

import { loadDescription } from './api.js';
import { effect, html, render, signal, useEffect } from './html.js';
import { Help, keyboard } from './keys.js';
import { head, link, listed, live, progress, start } from './live.js';
import { Busy } from './parts/bits.js';
import { Confirm } from './parts/confirm.js';
import { TimeLine } from './parts/timeline.js';
import { Toasts } from './parts/toast.js';
import { count, number } from './pure/format.js';
import { route, to } from './router.js';
import * as tape from './tape.js';
import { choice } from './theme.js';
import * as time from './time.js';
import { ApplicationPage } from './views/application.js';
import { ApplicationList } from './views/applications.js';
import { Cluster } from './views/cluster.js';
import { ContainerPage } from './views/container.js';
import { ContainerList } from './views/containers.js';
import { Diff } from './views/diff.js';
import { EventPage } from './views/event.js';
import { EventList } from './views/events.js';
import { NodePage } from './views/node.js';
import { NodeList } from './views/nodes.js';
import { WhatIf } from './views/whatif.js';

const NAVIGATION = [
  ['', 'Cluster'],
  ['nodes', 'Nodes'],
  ['applications', 'Applications'],
  ['containers', 'Containers'],
  ['events', 'Events'],
  ['whatif', 'What-if'],
];
/** @type {Record<string, string>} */
const NEXT_THEME = { auto: 'light', light: 'dark', dark: 'auto' };
const RETRY_MS = 2000;

/**
 * The view of an address.
 * @param {string[]} parts
 */
function view([name = '', which]) {
  switch (name) {
    case '':
      return html`<${Cluster} />`;
    case 'nodes':
      return which ? html`<${NodePage} key=${which} which=${which} />` : html`<${NodeList} />`;
    case 'applications':
      return which
        ? html`<${ApplicationPage} key=${which} which=${which} />`
        : html`<${ApplicationList} />`;
    case 'containers':
      return which
        ? html`<${ContainerPage} key=${which} which=${which} />`
        : html`<${ContainerList} />`;
    case 'events':
      return which ? html`<${EventPage} key=${which} seq=${which} />` : html`<${EventList} />`;
    case 'diff':
      return html`<${Diff} />`;
    case 'whatif':
      return html`<${WhatIf} />`;
    default:
      return html`<div class="empty">
        <h1 tabindex="-1" id="title">Page not found</h1>
        <p><a href=${to([])}>Go to the cluster</a></p>
      </div>`;
  }
}

/** Whether the first lists have been read. */
const loaded = signal(false);
/** The views that need no list of containers: nodes say how many they have. */
const EARLY = ['', 'nodes', 'events'];

/**
 * Whether there is enough to show a view.
 * @param {string[]} parts
 */
function isReady([name = '', which]) {
  const isEarly = !which && EARLY.includes(name);
  const hasNodes = listed.nodes.value && listed.applications.value;
  return loaded.value || (isEarly && hasNodes) || time.past.value;
}

/** The place that was shown last; null when the UI has just been opened. @type {string | null} */
let lastPlace = null;

function App() {
  const { parts } = route.value;
  const place = parts.join('/');
  useEffect(() => {
    document.title = [...parts.slice(0, 2).reverse(), 'kDaemon'].join(' · ');
    // A new page starts at its title, for a screen reader too.
    if (lastPlace !== null && lastPlace !== place) {
      scrollTo(0, 0);
      document.getElementById('title')?.focus({ preventScroll: true });
    }
    lastPlace = place;
  }, [place]);
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to content</a>
    <header class="top">
      <${Brand} />
      <nav aria-label="Views">
        ${NAVIGATION.map(
          ([name, label]) => html`<a
            key=${name}
            href=${to(name ? [name] : [])}
            aria-current=${(parts[0] ?? '') === name ? 'page' : undefined}
          >
            ${label}
          </a>`,
        )}
      </nav>
      <span class="state">
        <${Link} />
        <${Theme} />
        <${Help} />
      </span>
    </header>
    ${link.value === 'lost' && loaded.value && html`<${Lost} />`}
    <${TimeLine} />
    <main id="main" tabindex="-1" class=${time.past.value ? 'is-past' : ''}>
      ${isReady(parts) ? view(parts) : html`<${Loading} />`}
    </main>
    <${Confirm} />
    <${Toasts} />
  `;
}

/** @param {Event} event */
function skip(event) {
  event.preventDefault();
  document.getElementById('main')?.focus();
}

function Brand() {
  return html`<a class="brand" href=${to([])}>
    <svg viewBox="0 0 32 32" aria-hidden="true">
      <rect x="3" y="3" width="12" height="12" rx="3" />
      <rect x="17" y="3" width="12" height="12" rx="3" opacity=".5" />
      <rect x="3" y="17" width="12" height="12" rx="3" opacity=".5" />
      <rect x="17" y="17" width="12" height="12" rx="3" />
    </svg>
    kDaemon
  </a>`;
}

/** The state of the connection, and the last event that was received. */
function Link() {
  const words = { live: 'live', loading: 'loading', lost: 'no connection' };
  return html`<span
    class=${`link is-${link.value}`}
    title=${`${count(live.nodes.size, 'node')}, event ${head.value}`}
  >
    <i aria-hidden="true"></i>
    ${words[link.value]} <span class="seq">#${number(head.value)}</span>
  </span>`;
}

function Theme() {
  return html`<button
    type="button"
    onClick=${() => (choice.value = NEXT_THEME[choice.value])}
    title="Light, dark, or as the system prefers"
  >
    Theme: ${choice.value}
  </button>`;
}

function Lost() {
  return html`<p class="banner is-bad" role="alert">
    <span class="spinner" aria-hidden="true"></span>
    Not connected. Showing the state as of event ${number(head.value)}; reconnecting …
  </p>`;
}

function Loading() {
  const text =
    link.value === 'lost'
      ? 'The daemon does not answer; retrying …'
      : progress.value || 'Loading the cluster …';
  return html`<${Busy}>${text}<//>`;
}

effect(() => {
  if (link.value === 'live') loaded.value = true;
});
start();
tape.begin();
time.begin();
keyboard();
loadDescription().catch(() => setTimeout(() => loadDescription().catch(() => {}), RETRY_MS));
render(html`<${App} />`, /** @type {HTMLElement} */ (document.getElementById('app')));
