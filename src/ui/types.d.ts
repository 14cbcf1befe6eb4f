// Names for the types that the web UI works with. Rows and answers are taken from the API's routes
// as openapi/kdaemon.json describes them (`scripts/ui types` generates the module `openapi`).

import type { paths } from 'openapi';

/** The JSON that a GET of a route answers. */
type Answer<Route extends keyof paths> = paths[Route] extends {
  get: { responses: { 200: { content: { 'application/json': infer Body } } } };
}
  ? Body
  : never;

export type NodeRow = Answer<'/0.0/nodes'>[number];
export type ApplicationRow = Answer<'/0.0/applications'>[number];
export type ContainerRow = Answer<'/0.0/containers'>[number];
export type Row = NodeRow | ApplicationRow | ContainerRow;
export type State = Answer<'/0.0/state'>;
export type Stats = Answer<'/0.0/containers/{id}/stats'>;
export type Progress = Answer<'/0.0/containers/{id}/progress'>;
export type Why = Answer<'/0.0/why/containers/{id}'>;
export type Audit = Answer<'/0.0/audit/verify'>;
export type Replay = paths['/0.0/replay']['post']['responses'][200]['content']['application/json'];

/** The kinds of things, as the paths of the API name them. */
export type Kind = 'nodes' | 'applications' | 'containers';

export type Actor = { type: string; name?: string };

/** An event of the log. `data` has the fields of its kind; `says` is the event as one sentence. */
export type Event = {
  seq: number;
  id: string;
  at: string;
  actor: Actor;
  request_id?: string | null;
  cause?: number | null;
  kind: string;
  data: Record<string, any>;
  says: string;
};
export type EventPage = { events: Event[]; head: number; next?: number | null };

/** A field with its values before and after. */
export type FieldChange = { from: unknown; to: unknown };
export type Changes = Record<string, FieldChange>;
export type HistoryEvent = Event & { changes?: Changes };
export type History = { name: string; next?: number | null; events: HistoryEvent[] };

/** What two moments differ in, for one kind of thing. */
export type DiffItem = {
  id: string;
  name: string;
  row?: Row;
  fields?: Changes;
  events?: number[];
};
export type DiffPart = 'added' | 'removed' | 'changed';
export type Moment = { seq: number; at: string };
export type Diff = { from: Moment; to: Moment } & Record<Kind, Record<DiffPart, DiffItem[]>>;

/** A requested moment: an event, or a time in milliseconds since 1970. */
export type Point = { seq?: number; at?: number };

/** A fact on the time line. `event` is null for old ones, of which only the mark is kept. */
export type Mark = { seq: number; at: number; group: string; kind: string; event: Event | null };

/** A part of a JSON Schema, as far as forms read it. */
export type Schema = {
  $ref?: string;
  type?: string | string[];
  format?: string;
  description?: string;
  oneOf?: Schema[];
  anyOf?: Schema[];
  allOf?: Schema[];
  properties?: Record<string, Schema>;
  additionalProperties?: boolean | Schema;
  [extension: `x-${string}`]: unknown;
};
export type Description = {
  paths: Record<string, Record<string, any>>;
  components?: { schemas?: Record<string, Schema> };
};

/** A request that changes something. */
export type Order = {
  method?: 'POST' | 'PATCH' | 'DELETE';
  path: string;
  query?: Query;
  body?: unknown;
};
export type Query = Record<string, string | number | boolean | null | undefined>;
