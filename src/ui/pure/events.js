// What kinds of events there are, and what an event is about.
// @ts-check

/** @import { Actor, Event, Kind } from '../types.js' */

/**
 * The lanes of the time line, with the kinds of events in each. Other kinds appear in the log only.
 * @type {Record<string, {label: string, kinds: string[]}>}
 */
export const GROUPS = {
  trouble: {
    label: 'Trouble',
    kinds: [
      'NodeUnhealthy',
      'ContainerUnhealthy',
      'ContainerExited',
      'ContainerUnschedulable',
      'ContainerLaunchFailed',
      'ContainerLaunchAbandoned',
      'ContainerObserved',
      'RolloutPaused',
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
      'ContainerReady',
      'ContainerCompleted',
      'NodeHealthy',
      'MigrationsResumed',
    ],
  },
  people: { label: 'People', kinds: [] },
};

/** All kinds of facts: everything but raw observations. */
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
  'ApplicationRestarted',
  'RolloutStarted',
  'RolloutPaused',
  'RolloutCompleted',
  'RolloutRolledBack',
  'ContainerCreated',
  'ContainerUpdated',
  'ContainerLaunchRequested',
  'ContainerPlaced',
  'ContainerLaunched',
  'ContainerUnschedulable',
  'ContainerLaunchFailed',
  'ContainerLaunchAbandoned',
  'ContainerObserved',
  'ContainerExited',
  'ContainerCompleted',
  'ContainerUnhealthy',
  'ContainerHealthy',
  'ContainerReady',
  'ContainerMigrationCommanded',
  'ContainerMigrated',
  'ContainerStopRequested',
  'ContainerStopped',
  'ContainerRemoved',
  'ContainerDeleted',
  'ContainerAdopted',
  'VolumesRemoved',
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
/** Kinds that follow from a request and are not requests themselves. */
const CONSEQUENCES = new Set([
  'ClusterCreated',
  'LeaderElected',
  'ContainerStopped',
  'ContainerRemoved',
  'ContainerDeleted',
]);

/**
 * The group of an event: `people` for what people ask for, else by its kind.
 * @param {Pick<Event, 'kind'> & {actor?: Actor}} event
 */
export function groupOf({ kind, actor }) {
  const group = GROUP_OF.get(kind);
  if (actor?.type !== 'reactor' && !group && !CONSEQUENCES.has(kind)) return 'people';
  return group ?? 'other';
}

/**
 * Who caused an event.
 * @param {Actor | undefined} actor
 */
export const actorName = (actor) => actor?.name ?? actor?.type ?? 'unknown';

/**
 * What an event is about: [[kind of thing, id]].
 * @param {Event} event
 * @returns {[Kind, string][]}
 */
export function subjectsOf(event) {
  const d = event.data ?? {};
  /** @type {[Kind, string][]} */
  const found = [];
  if (d.container_id) found.push(['containers', d.container_id]);
  if (d.node_id) found.push(['nodes', d.node_id]);
  if (d.from_node_id && d.from_node_id !== d.node_id) found.push(['nodes', d.from_node_id]);
  if (d.application_id) found.push(['applications', d.application_id]);
  return found;
}
