// The web UI begins here: its frame, and which view is in it.

import { effect, html, render, signal, useEffect } from './html.js';
import { loadDescription } from './api.js';
import { head, link, listed, live, progress, start } from './live.js';
import { route, to } from './router.js';
import * as tape from './tape.js';
import * as time from './time.js';
import { choice } from './theme.js';
import { count, number } from './words.js';
import { Busy } from './parts/bits.js';
import { Confirm } from './parts/confirm.js';
import { Toasts } from './parts/toast.js';
import { Help, keyboard } from './keys.js';
import { TimeLine } from './views/timeline.js';
import { Cluster } from './views/cluster.js';
import { NodeList, NodePage } from './views/nodes.js';
import { ApplicationList, ApplicationPage } from './views/applications.js';
import { ContainerList, ContainerPage } from './views/containers.js';
import { EventList } from './views/events.js';
import { EventPage } from './views/event.js';
import { Diff } from './views/diff.js';
import { WhatIf } from './views/whatif.js';

const VIEWS = [
  ['', 'Cluster'],
  ['nodes', 'Nodes'],
  ['applications', 'Applications'],
  ['containers', 'Containers'],
  ['events', 'Events'],
  ['whatif', 'What-if'],
];
const NEXT_THEME = { auto: 'light', light: 'dark', dark: 'auto' };

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
        <h1 tabindex="-1" id="title">
          There is no such page
        </h1>
        <p>
          <a href=${to([])}>To the cluster</a>
        </p>
      </div>`;
  }
}

/** Whether the first lists are here. */
const loaded = signal(false);

/** Whether there is enough to show a view. The cluster and its nodes say how many containers there are before the list of those is here. */
function isReady([name = '', which]) {
  const isEarly =
    listed.nodes.value &&
    listed.applications.value &&
    !which &&
    ['', 'nodes', 'events'].includes(name);
  return loaded.value || isEarly || time.past.value;
}

function App() {
  const { parts } = route.value;
  const place = parts.join('/');
  useEffect(() => {
    document.title = `${parts.length ? parts.slice(0, 2).reverse().join(' · ') + ' · ' : ''}kDaemon`;
    // A new page begins at its title, for a screen reader as for the eyes; not when the UI is opened.
    if (App.place !== undefined && App.place !== place) {
      scrollTo(0, 0);
      document.getElementById('title')?.focus({ preventScroll: true });
    }
    App.place = place;
  }, [place]);
  return html`
    <a
      class="skip"
      href="#main"
      onClick=${(event) => {
        event.preventDefault();
        document.getElementById('main').focus();
      }}
    >
      To the content
    </a>
    <header class="top">
      <a class="brand" href=${to([])}>
        <svg viewBox="0 0 32 32" aria-hidden="true">
          <rect x="3" y="3" width="12" height="12" rx="3" />
          <rect x="17" y="3" width="12" height="12" rx="3" opacity=".5" />
          <rect x="3" y="17" width="12" height="12" rx="3" opacity=".5" />
          <rect x="17" y="17" width="12" height="12" rx="3" />
        </svg>
        kDaemon
      </a>
      <nav aria-label="Views">
        ${VIEWS.map(
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
        <button
          type="button"
          onClick=${() => (choice.value = NEXT_THEME[choice.value])}
          title="Light, dark, or as the machine says"
        >
          Theme: ${choice.value}
        </button>
        <${Help} />
      </span>
    </header>
    ${
      link.value === 'lost' &&
      loaded.value &&
      html`<p class="banner is-bad" role="alert">
        <span class="spinner" aria-hidden="true"></span>The daemon does not answer. What is
        shown is as of event ${number(head.value)}; trying again.
      </p>`
    }
    <${TimeLine} />
    <main id="main" tabindex="-1" class=${time.past.value ? 'is-past' : ''}>
      ${
        isReady(parts)
          ? view(parts)
          : html`<${Busy}>
            ${
              link.value === 'lost'
                ? 'The daemon does not answer; trying again …'
                : progress.value || 'Reading the cluster …'
            }
          <//>`
      }
    </main>
    <${Confirm} />
    <${Toasts} />
  `;
}

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

effect(() => {
  if (link.value === 'live') loaded.value = true;
});
start();
tape.begin();
time.begin();
keyboard();
loadDescription().catch(() => setTimeout(() => loadDescription().catch(() => {}), 2000));
render(html`<${App} />`, document.getElementById('app'));
