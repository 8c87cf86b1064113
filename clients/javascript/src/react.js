/**
 * Hooks for React 18 and later. Nothing is opened while a page is rendered, so they are safe on a server and in StrictMode: components
 * that show the same share one live collection, which outlives a remount.
 */

import { createContext, createElement, useContext, useMemo, useSyncExternalStore } from "react";

/** @import { ReactNode } from "react" */
/** @import { Client } from "./client.js" */
/** @import { LiveCollection } from "./live.js" */
/** @import { Presence } from "./presence.js" */
/** @import { Write } from "./writer.js" */
/** @import { Fields, FieldsOf, InboxEntry, LiveOptions, LiveState, NameOf, Person, Principal, RecordState, Record_, SchemaOf, State, TopicOptions } from "./types.js" */

/** What nobody shows for so long is closed. */
const LINGER_MS = 1_000;

/**
 * @template S
 * @typedef {{ subscribe(fn: () => void): () => void, get(): S, getOnServer(): S }} Shared
 */

const Context = createContext(/** @type {Client | null} */ (null));

/** Gives the client to the components below. @param {{ client: Client<any>, children?: ReactNode }} props */
export const BranchlineProvider = ({ client, children }) => createElement(Context.Provider, { value: client }, children);

/** The client of the provider above. */
export function useClient() {
  const client = useContext(Context);
  if (!client) throw new Error("expected a BranchlineProvider above this component: wrap the app in one");
  return client;
}

/** @type {WeakMap<Client, Map<string, Shared<any>>>} */ const all = new WeakMap();

/**
 * Something that is open while anybody shows it. `read` gives what is shown of it; it is called only after something has changed.
 * @template T, S
 * @param {Client} client
 * @param {string} key
 * @param {{ open(): T, watch(thing: T, fn: () => void): () => void, read(thing: T): S, close(thing: T): void, none: S }} kind
 * @returns {Shared<S>}
 */
function share(client, key, { open, watch, read, close, none }) {
  const shared = all.get(client) ?? new Map();
  all.set(client, shared);
  const found = shared.get(key);
  if (found) return found;
  /** @type {Set<() => void>} */ const listeners = new Set();
  /** @type {{ thing: T, stop(): void } | null} */ let opened = null;
  let shown = none;
  /** @type {any} */ let closing;
  const changed = () => {
    if (opened) shown = read(opened.thing);
    for (const fn of [...listeners]) fn();
  };
  /** @type {Shared<S>} */
  const made = {
    subscribe: (fn) => {
      clearTimeout(closing);
      listeners.add(fn);
      if (!opened) {
        const thing = open();
        opened = { thing, stop: watch(thing, changed) };
        shown = read(thing);
      }
      return () => {
        listeners.delete(fn);
        if (listeners.size) return;
        closing = setTimeout(() => {
          opened?.stop();
          if (opened) close(opened.thing);
          opened = null;
          shown = none;
        }, LINGER_MS);
      };
    },
    get: () => shown,
    getOnServer: () => none,
  };
  shared.set(key, made);
  return made;
}

/** @template S @param {Shared<S>} shared */
const useShared = ({ subscribe, get, getOnServer }) => useSyncExternalStore(subscribe, get, getOnServer);

/**
 * @template R
 * @typedef {{ records: readonly R[], state: LiveState, error: Error | null, live: LiveCollection<R> | null }} LiveOf
 */
/** @type {LiveOf<any>} */
const NO_LIVE = { records: [], state: "loading", error: null, live: null };

/** @param {Client} client @param {string} collection @param {LiveOptions} options @returns {Shared<LiveOf<any>>} */
const shareLive = (client, collection, options) =>
  share(client, `live ${collection} ${JSON.stringify(options)}`, {
    open: () => client.live(collection, options),
    watch: (live, fn) => live.subscribe(fn),
    read: (live) => ({ records: live.records, state: live.state, error: live.error, live }),
    close: (live) => live.close(),
    none: NO_LIVE,
  });

/**
 * The records of a topic: `const { records, state } = useLive("leads", { where: { status: "new" }, sort: "name" })`.
 * @param {string} collection
 * @param {LiveOptions} [options]
 * @returns {LiveOf<Record_>}
 */
export function useLive(collection, options = {}) {
  const client = useClient();
  const key = JSON.stringify(options);
  return useShared(useMemo(() => shareLive(client, collection, JSON.parse(key)), [client, collection, key]));
}

/**
 * One record. `sync` is the state of its newest write; `error` a refused write of it, from the inbox. `update` writes fields.
 * @param {string} collection
 * @param {string} id
 */
export function useRecord(collection, id) {
  const client = useClient();
  const shared = useMemo(() => shareLive(client, collection, { id }), [client, collection, id]);
  const { live, state } = useShared(shared);
  /** @type {RecordState} */ const sync = live?.stateOf(id) ?? "saved";
  /** @type {InboxEntry | undefined} */
  const error = sync === "needs-review" ? client.inbox.find(({ mutation }) => mutation.id === id && mutation.collection === collection) : undefined;
  const update = useMemo(() => (/** @type {Fields} */ fields) => client.update(collection, id, fields), [client, collection, id]);
  return { data: live?.get(id), state, sync, pending: sync === "saving" || sync === "local", error, update };
}

/** @type {{ state: State, reason: string, isLive: boolean, pending: number, principal: Principal | null }} */
const NO_CONNECTION = { state: "idle", reason: "", isLive: false, pending: 0, principal: null };

/** How the client stands to the server, and how many writes wait. */
export function useConnection() {
  const client = useClient();
  const shared = useMemo(
    () =>
      share(client, "connection", {
        open: () => client,
        watch: (_, fn) => {
          const stops = [client.on("state", fn), client.on("writes", fn)];
          return () => stops.forEach((stop) => stop());
        },
        read: ({ state, reason, pending, principal }) => ({
          state,
          reason,
          pending,
          principal,
          isLive: state === "live" || state === "leaving",
        }),
        close: () => {},
        none: NO_CONNECTION,
      }),
    [client],
  );
  return useShared(shared);
}

/** @type {{ others: readonly Person[], presence: Presence | null }} */
const NO_PRESENCE = { others: [], presence: null };

/**
 * Who else is on a topic. `presence` announces, signals and edits; it is null until the component is there.
 * @param {string} collection
 * @param {TopicOptions} [options]
 */
export function usePresence(collection, options = {}) {
  const client = useClient();
  const key = JSON.stringify(options);
  const shared = useMemo(
    () =>
      share(client, `presence ${collection} ${key}`, {
        open: () => client.presence(collection, JSON.parse(key)),
        watch: (presence, fn) => presence.on(fn),
        read: (presence) => ({ others: presence.others, presence: /** @type {Presence | null} */ (presence) }),
        close: (presence) => presence.close(),
        none: NO_PRESENCE,
      }),
    [client, collection, key],
  );
  return useShared(shared);
}

/**
 * The hooks for the collections of a schema.
 * @template {SchemaOf<S>} S
 * @typedef {{
 *   useClient(): Client<S>,
 *   useLive<C extends NameOf<S>>(collection: C, options?: LiveOptions<S[C]>): LiveOf<S[C]>,
 *   useRecord<C extends NameOf<S>>(collection: C, id: string): Omit<ReturnType<typeof useRecord>, "data" | "update"> & { data: S[C] | undefined, update(fields: FieldsOf<S[C]>): Write },
 *   useConnection: typeof useConnection,
 *   usePresence<C extends NameOf<S>>(collection: C, options?: TopicOptions<S[C]>): { others: readonly Person[], presence: Presence<S[C]> | null },
 * }} Hooks
 */

/**
 * Gives the hooks with the types of a schema: `export const { useLive, useRecord } = createHooks<Schema>();`.
 * @template {SchemaOf<S>} S
 * @returns {Hooks<S>}
 */
export const createHooks = () => /** @type {Hooks<any>} */ ({ useClient, useLive, useRecord, useConnection, usePresence });
