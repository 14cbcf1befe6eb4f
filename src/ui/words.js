// Events and values in words. One place, so that the time line, the log, the confirmations and the stories speak alike.

import { signal } from './html.js';

/** Kinds of event by what the time line shows of them. What is in none of these is shown in the log alone. */
export const GROUPS = {
  trouble: {
    label: 'Trouble',
    kinds: [
      'NodeUnhealthy',
      'ContainerUnhealthy',
      'ContainerExited',
      'ContainerLaunchFailed',
      'ContainerObserved',
      'MigrationsPaused',
    ],
  },
  moves: {
    label: 'Migrations',
    kinds: [
      'ContainerMigrationCommanded',
      'ContainerMigrated',
      'RebalancePlanned',
      'ContainerAdopted',
      'NodeDrained',
    ],
  },
  launches: {
    label: 'Launches and recoveries',
    kinds: [
      'ContainerPlaced',
      'ContainerLaunched',
      'ContainerHealthy',
      'NodeHealthy',
      'MigrationsResumed',
    ],
  },
  people: { label: 'People', kinds: [] },
};

/** All kinds that are facts: everything but raw observations. */
export const FACTS = [
  'NodeMounted',
  'NodeUpdated',
  'NodeHealthy',
  'NodeUnhealthy',
  'NodeCordoned',
  'NodeUncordoned',
  'NodeDrainStarted',
  'NodeDrained',
  'NodeUnmounted',
  'ApplicationCreated',
  'ApplicationUpdated',
  'ApplicationDeleted',
  'ApplicationScaled',
  'ContainerCreated',
  'ContainerUpdated',
  'ContainerLaunchRequested',
  'ContainerPlaced',
  'ContainerLaunched',
  'ContainerLaunchFailed',
  'ContainerObserved',
  'ContainerExited',
  'ContainerUnhealthy',
  'ContainerHealthy',
  'ContainerMigrationCommanded',
  'ContainerMigrated',
  'ContainerStopRequested',
  'ContainerStopped',
  'ContainerRemoved',
  'ContainerDeleted',
  'ContainerAdopted',
  'ClusterCreated',
  'LeaderElected',
  'RebalancePlanned',
  'MigrationsPaused',
  'MigrationsResumed',
  'ObservationsPruned',
  'TokenCreated',
  'TokenRevoked',
];

const GROUP_OF = new Map(
  Object.entries(GROUPS).flatMap(([group, { kinds }]) => kinds.map((kind) => [kind, group])),
);

/** The group of an event: people's own actions first, then by its kind. */
export function groupOf(event) {
  if (event.actor?.type !== 'reactor' && isAsked(event.kind)) return 'people';
  return GROUP_OF.get(event.kind) ?? 'other';
}

function isAsked(kind) {
  return (
    !GROUP_OF.has(kind) &&
    ![
      'ClusterCreated',
      'LeaderElected',
      'ContainerStopped',
      'ContainerRemoved',
      'ContainerDeleted',
    ].includes(kind)
  );
}

// ---- names of things, also of those that are gone ---------------------------------------------------------------------

const names = new Map();
/** So many names are remembered; the oldest go. */
const NAMES = 100_000;
/** Changes when names were learned. */
export const namesKnown = signal(0);

export function learnNames(events) {
  let learned = 0;
  for (const { data } of events) {
    const id =
      data?.container_id && data.name
        ? data.container_id
        : data?.name && (data.node_id || data.application_id);
    if (id && names.get(id) !== data.name) {
      names.set(id, data.name);
      learned++;
    }
  }
  for (const id of names.keys()) {
    if (names.size <= NAMES) break;
    names.delete(id);
  }
  if (learned) namesKnown.value++;
}

/** The name of a thing: from the rows that are shown, from events, or the beginning of its id. */
export function nameOf(world, kind, id) {
  if (!id) return 'nothing';
  return world?.name(kind, id) ?? names.get(id) ?? id.slice(0, 8) + '…';
}

// ---- an event as a sentence -------------------------------------------------------------------------------------------

const ENDED = {
  running: 'is running',
  stopped: 'is stopped',
  missing: 'is not there any more',
};
const REASONS = {
  unhealthy: 'its node failed',
  drain: 'its node is drained',
  balance: 'to even the counts',
  update: 'its application changed',
};

/** What happened, in one sentence. `world` gives things their names. */
export function say(event, world) {
  const d = event.data ?? {};
  const node = d.node_id && nameOf(world, 'nodes', d.node_id);
  const app = d.application_id && nameOf(world, 'applications', d.application_id);
  const it = d.container_id && nameOf(world, 'containers', d.container_id);
  switch (event.kind) {
    case 'NodeMounted':
      return `Node ${d.name} was mounted at ${endpointText(d.endpoint)}`;
    case 'NodeUpdated':
      return `Node ${node} was edited: ${changed(d, 'node_id')}`;
    case 'NodeObserved':
      return d.outcome?.result === 'failed' || d.outcome?.reason
        ? `${node} did not answer: ${d.outcome.reason}`
        : `${node} answered in ${d.latency_ms} ms`;
    case 'NodeHealthy':
      return `${node} is UP: it answered ${times(d.successes)}`;
    case 'NodeUnhealthy':
      return `${node} is DOWN after ${d.failures} failed ${d.failures === 1 ? 'probe' : 'probes'}: ${d.reason}`;
    case 'NodeCordoned':
      return `${node} was cordoned: it takes nothing new`;
    case 'NodeUncordoned':
      return `${node} takes containers again`;
    case 'NodeDrainStarted':
      return `${node} is being drained${d.then_unmount ? ', then unmounted' : ''}`;
    case 'NodeDrained':
      return `${node} is empty`;
    case 'NodeUnmounted':
      return `${node} was unmounted`;
    case 'ApplicationCreated':
      return `Application ${d.name} was added (${d.spec?.docker_image ?? 'no image'})`;
    case 'ApplicationUpdated':
      return `Application ${app} was edited: ${changed(d, 'application_id')}`;
    case 'ApplicationDeleted':
      return `Application ${app} was deleted`;
    case 'ApplicationScaled':
      return d.replicas === null || d.replicas === undefined
        ? `${app} is scaled by hand from now on`
        : `${app} is to have ${count(d.replicas, 'container')}`;
    case 'ContainerCreated':
      return `Container ${d.name} was created${app ? ` from ${app}` : ''}`;
    case 'ContainerUpdated':
      return `Container ${it} was edited: ${changed(d, 'container_id')}`;
    case 'ContainerLaunchRequested':
      return `${it} is to run`;
    case 'ContainerPlaced':
      return `${it} was placed on ${node}: ${d.why}`;
    case 'ContainerLaunched':
      return `${it} is UP on ${node}`;
    case 'ContainerLaunchFailed':
      return launchFailed(it, node, d);
    case 'ContainerObserved':
      return `${it} was seen on ${node}: it ${ENDED[d.state] ?? d.state}`;
    case 'ContainerExited':
      return `${it} ended on ${node}${d.exit_code === undefined || d.exit_code === null ? '' : ` with code ${d.exit_code}`}${d.out_of_memory ? ', out of memory' : ''}${d.restart_at ? '; it is started again' : ''}`;
    case 'ContainerUnhealthy':
      return `${it} fails its health check; it is restarted`;
    case 'ContainerHealthy':
      return `${it} passes its health check`;
    case 'ContainerMigrationCommanded':
      return `${it} moves from ${nameOf(world, 'nodes', d.from_node_id)} to ${node} (${REASONS[d.reason] ?? d.reason}): ${d.why}`;
    case 'ContainerMigrated':
      return `${it} has moved to ${node}`;
    case 'ContainerStopRequested':
      return `${it} is to stop${d.then_delete ? ' and be deleted' : ''}`;
    case 'ContainerStopped':
      return `${it} is stopped${d.exit_code === undefined || d.exit_code === null ? '' : ` (code ${d.exit_code})`}`;
    case 'ContainerRemoved':
      return `${it}, generation ${d.generation}, is gone from ${node}`;
    case 'ContainerDeleted':
      return `${it} was deleted`;
    case 'ContainerAdopted':
      return `${it} was found running on ${node} and is kept`;
    case 'ClusterCreated':
      return 'The cluster was created';
    case 'LeaderElected':
      return `${d.daemon} leads, term ${d.term}`;
    case 'RebalancePlanned':
      return `A rebalance begins ${count(d.moves?.length ?? 0, 'move')}${d.remaining ? `, ${d.remaining} to follow` : ''}: ${d.why}`;
    case 'MigrationsPaused':
      return `Migrations are paused: ${d.reason}`;
    case 'MigrationsResumed':
      return `Migrations go on: ${d.unhealthy} of ${d.nodes} nodes are unhealthy`;
    case 'ObservationsPruned':
      return `${count(d.count, 'observation')} up to event ${d.up_to} were pruned`;
    case 'TokenCreated':
      return `Access token ${d.name} was made`;
    case 'TokenRevoked':
      return `Access token ${d.name} was revoked`;
    default:
      return `${event.kind} ${it ?? app ?? node ?? ''}`.trim();
  }
}

function launchFailed(it, node, d) {
  if (d.attempt === 0) return `${it} waits: ${d.reason}`;
  return `${it} could not start${node ? ` on ${node}` : ''} (attempt ${d.attempt}): ${d.reason}${d.retry_at ? '' : '; it is given up'}`;
}

function endpointText(endpoint) {
  if (typeof endpoint === 'string') return endpoint;
  if (endpoint?.path) return `unix://${endpoint.path}`;
  return endpoint?.host ? `tcp://${endpoint.host}:${endpoint.port}` : 'an address';
}

function changed(data, id) {
  const fields = Object.keys(data).filter((name) => name !== id);
  return fields.length ? fields.join(', ') : 'nothing changed';
}

/** Who did it. */
export function actorName(actor) {
  return actor?.name ?? (actor?.type === 'anonymous' ? 'somebody' : (actor?.type ?? 'unknown'));
}

/** What an event is about: [[kind of thing, id]]. */
export function subjectsOf(event) {
  const d = event.data ?? {};
  const found = [];
  if (d.container_id) found.push(['containers', d.container_id]);
  if (d.node_id) found.push(['nodes', d.node_id]);
  if (d.from_node_id && d.from_node_id !== d.node_id) found.push(['nodes', d.from_node_id]);
  if (d.application_id) found.push(['applications', d.application_id]);
  return found;
}

// ---- numbers and times --------------------------------------------------------------------------------------------------

/** 20 000, with thin spaces. (toLocaleString is slow, and this is called in every frame.) */
export const number = (value) => String(value).replace(/\B(?=(\d{3})+(?!\d))/g, '\u2009');
export const count = (n, noun) => `${number(n)} ${noun}${n === 1 ? '' : 's'}`;
const times = (n) => (n === 1 ? 'once' : `${n} times in a row`);

export function bytes(value) {
  if (value === null || value === undefined) return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  let n = value;
  while (n >= 1024 && unit < units.length - 1) {
    n /= 1024;
    unit++;
  }
  return `${n >= 100 || unit === 0 ? Math.round(n) : n.toFixed(1)} ${units[unit]}`;
}

const two = (n) => String(n).padStart(2, '0');
/** 15:04:05, in the time zone of whoever looks. */
export function clock(at, millis = false) {
  const d = new Date(at);
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}${millis ? '.' + String(d.getMilliseconds()).padStart(3, '0') : ''}`;
}
/** 2026-11-22. */
export function day(at) {
  const d = new Date(at);
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;
}
export const moment = (at) => `${day(at)} ${clock(at)}`;

/** A stretch of time: `3 s`, `4 min`, `2 h 10 min`. */
export function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  const m = Math.floor(s / 60);
  if (m < 60) return s % 60 && m < 10 ? `${m} min ${s % 60} s` : `${m} min`;
  const h = Math.floor(m / 60);
  if (h < 48) return m % 60 ? `${h} h ${m % 60} min` : `${h} h`;
  return `${Math.floor(h / 24)} days`;
}
export const ago = (at, now = Date.now()) =>
  now - new Date(at) < 1500 ? 'just now' : `${span(now - new Date(at))} ago`;

// ---- environment variables ----------------------------------------------------------------------------------------------

const SECRET = /PASS|TOKEN|SECRET|KEY|CREDENTIAL|AUTH|PRIVATE|DSN/i;
export const isSecret = (name) => SECRET.test(name);
export const MASK = '••••••••';

/** `A=1,B=2`, as rows have it, into [[name, value]]. A comma in a value stands behind a backslash. */
export function variables(text) {
  const found = [];
  let current = '';
  const add = () => {
    const at = current.indexOf('=');
    if (current) found.push(at < 0 ? [current, ''] : [current.slice(0, at), current.slice(at + 1)]);
    current = '';
  };
  for (let i = 0; i < (text ?? '').length; i++) {
    if (text[i] === '\\' && i + 1 < text.length) current += text[++i];
    else if (text[i] === ',') add();
    else current += text[i];
  }
  add();
  return found;
}

/** A copy of an event's data in which the values of variables with secret names are not readable. */
export function masked(value, inEnvironment = false) {
  if (Array.isArray(value)) return value.map((item) => masked(item, inEnvironment));
  if (value === null || typeof value !== 'object') return value;
  const entries = Object.entries(value).map(([name, item]) => {
    if (inEnvironment && isSecret(name) && typeof item === 'string') return [name, MASK];
    if (name === 'env_variables' && typeof item === 'string') {
      return [
        name,
        variables(item)
          .map(([n, v]) => `${n}=${isSecret(n) ? MASK : v}`)
          .join(','),
      ];
    }
    return [name, masked(item, name === 'env_variables')];
  });
  return Object.fromEntries(entries);
}
