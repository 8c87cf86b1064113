/** The shapes that travel: on the wire, to the program, to the disk. Names are the protocol's. */

declare global {
  /** The open clients of the page: for its console, and for tools. */
  var __BRANCHLINE__: Set<import("./client.js").Client<any>> | undefined;
}

/** A record: its columns, flat. Never changed in place; do not change it either. */
export type Record_ = { readonly id: string; readonly version: number; readonly [field: string]: any };
export type Fields = { readonly [field: string]: any };

/** What a schema is: the type of the records of each collection. `branchline-types` writes the one of a server. */
export type SchemaOf<S> = { [C in keyof S]: { readonly id: string; readonly version: number } };
/** Of any server: all names are right. */
export type AnySchema = { readonly [collection: string]: Record_ };
export type NameOf<T> = keyof T & string;
/** What is written of a record. */
export type FieldsOf<R> = Partial<Omit<R, "id" | "version">>;
export type WhereOf<R> = { readonly [F in keyof R]?: R[F] | readonly R[F][] };
/** `name`, `-created_at`, `-amount:numeric`. */
export type SortOf<R> = `${"" | "-"}${NameOf<R>}${"" | ":numeric"}`;
export type TopicOptions<R = Record_> = { where?: WhereOf<R>; id?: string };
export type LiveOptions<R = Record_> = TopicOptions<R> & { sort?: SortOf<R> | readonly SortOf<R>[] };

/** Everything up to `offset` of life `epoch` of the log has been seen, in the view `view`. */
export type Position = { readonly epoch: string; readonly offset: number; readonly view: string };
export type Since = Position | "now" | null;

export type State =
  | "idle"
  | "authorizing"
  | "connecting"
  | "authenticating"
  | "live"
  | "leaving"
  | "waiting"
  | "polling"
  | "needs-auth"
  | "stopped";

export type Principal = {
  user_id: string;
  name: string;
  organization_id: string;
  role: string;
  /** May write to; null for all. */
  branch_ids: string[] | null;
  reads: "all" | "own";
};

export type Actor = { user_id: string; name: string; branch_id: string | null };

/** A committed change, as the protocol has it. */
export type Change = {
  offset: number;
  collection: string;
  id: string;
  operation: "insert" | "update" | "delete" | "enter" | "leave";
  version: number;
  fields: Fields;
  clock: string;
  actor: Actor | null;
  mutation_id: string | null;
  /** Of a conflated change: all that it stands for. */
  mutation_ids?: string[];
  transaction: string;
  committed_at_ms: number;
  overwrote?: { field: string; value: any; by: string; at_ms: number }[];
};

export type Value = string | number | boolean | null;
/** A filter: each field has one value, or any of several. */
export type Where = { readonly [field: string]: Value | readonly Value[] };
export type Conditions = { readonly [field: string]: readonly Value[] };

/** A topic, and what it is made of. */
export type TopicSpec = { topic: string; collection: string; conditions: Conditions; record_id?: string | undefined };

export type Operation = "insert" | "update" | "delete";
export type Mode = "merge" | "strict";

export type Mutation = {
  readonly mutation_id: string;
  readonly collection: string;
  readonly id: string;
  readonly operation: Operation;
  readonly fields: Fields;
  /** The version that its author saw. */
  readonly base_version?: number | undefined;
  /** Without one the server decides: strict for critical fields, else merge. */
  readonly mode?: Mode | undefined;
  readonly clock: string;
  /** When it was typed, by the server's time. */
  readonly made_at_ms: number;
  /** What the device's clock lacked of the server's time when `clock` was stamped. */
  readonly offset_ms: number;
  /** The greatest clock that had been received by then. */
  readonly floor: string;
};

export type LostField = { field: string; mine: any; theirs: any; by: string | null; at_ms: number };

export type Result = {
  mutation_id: string;
  /** A `duplicate` is read as its first answer, with `is_repeat`. */
  status: "applied" | "merged" | "rejected";
  version?: number;
  clock?: string;
  record?: Record_;
  lost?: LostField[];
  code?: string;
  message?: string;
  is_repeat?: boolean;
};

/** Not kept safely yet; to be sent; on its way; the server has it, the views do not show it of themselves yet. */
export type Stage = "local" | "queued" | "sent" | "answered";

/** A write on its way. `written` is what it shows: all that was asked for, less what was lost. */
export type Pending = {
  sequence: number;
  mutation: Mutation;
  written: Mutation;
  stage: Stage;
  attempts: number;
  was_sent: boolean;
  refers_to: string[];
  answer?: { version?: number | undefined; epoch: string; offset: number };
};

/** A write that was not done, with all of its value. `id` is its mutation's. */
export type InboxEntry = {
  id: string;
  mutation: Mutation;
  code: string;
  message: string;
  at_ms: number;
  depends_on: string[];
  record?: Record_ | undefined;
};

/** A value of this person's that another's write replaced. The field `*` is a delete that was not done. */
export type Loss = {
  id: string;
  kind: "lost" | "overwritten";
  collection: string;
  record_id: string;
  field: string;
  mine: any;
  theirs: any;
  by: string | null;
  at_ms: number;
};

/** What changes of what may not be lost, in one go: committed together, told to other tabs as it is. */
export type Changes = {
  put?: Pending[];
  gone?: string[];
  inbox?: InboxEntry[];
  inbox_gone?: string[];
  losses?: Loss[];
  losses_gone?: string[];
  clock?: ClockState;
  principal?: Principal;
  is_paused?: boolean;
  /** The answers behind it, for whoever waits for them. */
  results?: Result[];
};

export type ClockState = { last: string; seen: string; offset_ms: number };

export type Kept = {
  queue: Pending[];
  inbox: InboxEntry[];
  losses: Loss[];
  clock: ClockState | null;
  /** As the server gave it last. */
  principal: Principal | null;
  is_paused: boolean;
};

/** The durable side of a client. When `keep` is done, what it was given survives a crash. */
export type Store = {
  readonly is_durable: boolean;
  load(): Promise<Kept>;
  keep(changes: Changes): Promise<void>;
};

export type CachedTopic = { position: Position; records: Record_[] };
/** What of a topic is to be written: all of it anew, or records that changed (null for those that went). */
export type TopicChanges = {
  collection: string;
  position: Position;
  is_whole: boolean;
  records: Map<string, Record_ | null>;
};
export type Cache = {
  fetch(topic: string): Promise<CachedTopic | null>;
  write(topics: Map<string, TopicChanges>): Promise<void>;
  forget(topics: Iterable<string>, collections: Iterable<string>): Promise<void>;
};

/** What has come of a topic. */
export type Fact =
  | { type: "replaced"; records: [string, Record_][]; position: Position }
  | { type: "advanced"; changes: Change[]; from: number; position: Position; conflated: boolean }
  | { type: "ask"; since: Since; why: string; later: boolean }
  | { type: "live" }
  | { type: "ended"; code: string; message: string };

/**
 * One visible record appeared, changed or went. `index` is its place afterwards, `previous_index` its place before,
 * counted while the effects are applied in order; null where it has none. `fields` are the names that differ, but for
 * the system's own. `change` is the server's change behind it, undefined for an own write.
 */
export type Effect<R = Record_> = {
  kind: "added" | "changed" | "removed";
  id: string;
  before: R | undefined;
  after: R | undefined;
  index: number | null;
  previous_index: number | null;
  fields: string[];
  change: Change | undefined;
};
/** What became of a live collection in one go. `is_reset`: a snapshot replaced what was there. */
export type Update<R = Record_> = { effects: Effect<R>[]; is_reset: boolean };

export type RecordState = "saved" | "saving" | "local" | "needs-review";
export type LiveState = "loading" | "stale" | "live" | "ended";

export type Lease = { record: string; field?: string; version?: number };
export type Person = {
  connection_id: string;
  user_id: string;
  name: string;
  branch_id: string | null;
  state: Fields | null;
  leases: Lease[];
};
/** `is_roster`: this is the first news after subscribing, and replaces all. */
export type RosterUpdate = { joined: Person[]; left: Person[]; changed: Person[]; is_roster: boolean };
export type SignalMessage = {
  topic: string;
  event: string;
  payload: any;
  from: { connection_id: string; user_id: string; name: string };
};

/** A token, or what gives one; null or undefined: nobody is signed in. `renew`: the last one was refused or is about to end. */
export type TokenSource = string | ((ask: { renew: boolean }) => string | null | undefined | Promise<string | null | undefined>);

export type Listener = {
  /** Whether it shows records, so that a snapshot is needed. */
  is_live: boolean;
  replaced(): void;
  advanced(changes: Change[], touched: Map<string, Change>): void;
  went_live(): void;
  interrupted(): void;
  ended(code: string, message: string): void;
};

/** How this client stands to the other tabs; see `offline.js`. The one without tabs leads always. */
export type Tabs = {
  leads: boolean;
  start(host: any): Promise<void>;
  post(message: any): void;
  close(): void;
};
