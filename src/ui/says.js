// An event as one sentence.
// @ts-check

/** @import { Event } from './types.js' */
/** @import { World } from './world.js' */

import { nameOf } from './names.js';
import { actorName } from './pure/events.js';
import { count } from './pure/format.js';

/** @type {Record<string, string>} */
const STATES = { running: 'running', stopped: 'stopped', missing: 'missing' };
/** @type {Record<string, string>} */
const REASONS = {
  unhealthy: 'its node failed',
  drain: 'its node is being drained',
  balance: 'to balance the cluster',
  update: 'its application changed',
};

/**
 * What happened, in one sentence.
 * @param {Event} event
 * @param {World | null} world gives things their names
 * @returns {string}
 */
export function say(event, world) {
  const d = event.data ?? {};
  const node = d.node_id && nameOf(world, 'nodes', d.node_id);
  const app = d.application_id && nameOf(world, 'applications', d.application_id);
  const it = d.container_id && nameOf(world, 'containers', d.container_id);
  switch (event.kind) {
    case 'NodeMounted':
      return `Node ${d.name} mounted at ${endpointText(d.endpoint)}`;
    case 'NodeUpdated':
      return `Node ${node} edited: ${changed(d, 'node_id')}`;
    case 'NodeObserved':
      return d.outcome?.result === 'failed' || d.outcome?.reason
        ? `${node} did not answer: ${d.outcome.reason}`
        : `${node} answered in ${d.latency_ms} ms`;
    case 'NodeHealthy':
      return `${node} is UP after ${count(d.successes, 'successful probe')}`;
    case 'NodeUnhealthy':
      return `${node} is DOWN after ${count(d.failures, 'failed probe')}: ${d.reason}`;
    case 'NodeCordoned':
      return `${node} cordoned: it takes no new containers`;
    case 'NodeUncordoned':
      return `${node} takes containers again`;
    case 'NodeDrainStarted':
      return `Draining ${node}${d.then_unmount ? ', then unmounting it' : ''}`;
    case 'NodeDrained':
      return `${node} is drained`;
    case 'NodeUnmounted':
      return `${node} unmounted`;
    case 'ApplicationCreated':
      return `Application ${d.name} added (${d.spec?.docker_image ?? 'no image'})`;
    case 'ApplicationUpdated':
      return `Application ${app} edited: ${changed(d, 'application_id')}`;
    case 'ApplicationDeleted':
      return `Application ${app} deleted`;
    case 'ApplicationScaled':
      return d.replicas === null || d.replicas === undefined
        ? `${app} is scaled by hand`
        : `${app} scaled to ${count(d.replicas, 'container')}`;
    case 'ContainerCreated':
      return `Container ${d.name} created${app ? ` from ${app}` : ''}`;
    case 'ContainerUpdated':
      return `Container ${it} edited: ${changed(d, 'container_id')}`;
    case 'ContainerLaunchRequested':
      return `Launch of ${it} requested`;
    case 'ContainerPlaced':
      return `${it} placed on ${node}: ${d.why}`;
    case 'ContainerLaunched':
      return `${it} is UP on ${node}`;
    case 'ContainerLaunchFailed':
      return launchFailed(it, node, d);
    case 'ContainerObserved':
      return `${it} found ${STATES[d.state] ?? d.state} on ${node}`;
    case 'ContainerExited':
      return `${it} exited on ${node}${exitText(d)}${d.restart_at ? '; it is restarted' : ''}`;
    case 'ContainerUnhealthy':
      return `${it} fails its health check; it is restarted`;
    case 'ContainerHealthy':
      return `${it} passes its health check`;
    case 'ContainerMigrationCommanded':
      return (
        `${it} moves from ${nameOf(world, 'nodes', d.from_node_id)} to ${node} ` +
        `(${REASONS[d.reason] ?? d.reason}): ${d.why}`
      );
    case 'ContainerMigrated':
      return `${it} moved to ${node}`;
    case 'ContainerStopRequested':
      return `${d.then_delete ? 'Deletion' : 'Stop'} of ${it} requested`;
    case 'ContainerStopped':
      return `${it} stopped${exitText(d)}`;
    case 'ContainerRemoved':
      return `${it}, generation ${d.generation}, removed from ${node}`;
    case 'ContainerDeleted':
      return `${it} deleted`;
    case 'ContainerAdopted':
      return `${it} found running on ${node} and kept`;
    case 'ClusterCreated':
      return 'Cluster created';
    case 'LeaderElected':
      return `${d.daemon} leads, term ${d.term}`;
    case 'RebalancePlanned': {
      const remaining = d.remaining ? `, ${d.remaining} to follow` : '';
      return `Rebalancing starts ${count(d.moves?.length ?? 0, 'move')}${remaining}: ${d.why}`;
    }
    case 'MigrationsPaused':
      return `Migrations paused: ${d.reason}`;
    case 'MigrationsResumed':
      return `Migrations resumed: ${d.unhealthy} of ${d.nodes} nodes are unhealthy`;
    case 'ObservationsPruned':
      return `${count(d.count, 'observation')} up to event ${d.up_to} pruned`;
    case 'TokenCreated':
      return `Access token ${d.name} created`;
    case 'TokenRevoked':
      return `Access token ${d.name} revoked`;
    default:
      return `${event.kind} ${it ?? app ?? node ?? `by ${actorName(event.actor)}`}`;
  }
}

/**
 * @param {string} it
 * @param {string | undefined} node
 * @param {Record<string, any>} d
 */
function launchFailed(it, node, d) {
  if (d.attempt === 0) return `${it} cannot be placed: ${d.reason}`;
  const where = node ? ` on ${node}` : '';
  const end = d.retry_at ? '' : '; no further attempts';
  return `${it} failed to start${where} (attempt ${d.attempt}): ${d.reason}${end}`;
}

/** @param {Record<string, any>} d */
function exitText(d) {
  const code = d.exit_code === undefined || d.exit_code === null ? '' : ` with code ${d.exit_code}`;
  return `${code}${d.out_of_memory ? ', out of memory' : ''}`;
}

/** @param {any} endpoint */
function endpointText(endpoint) {
  if (typeof endpoint === 'string') return endpoint;
  if (endpoint?.path) return `unix://${endpoint.path}`;
  return endpoint?.host ? `tcp://${endpoint.host}:${endpoint.port}` : 'an address';
}

/**
 * @param {Record<string, any>} data
 * @param {string} id the field that names the thing
 */
function changed(data, id) {
  const fields = Object.keys(data).filter((name) => name !== id);
  return fields.length ? fields.join(', ') : 'no changes';
}
