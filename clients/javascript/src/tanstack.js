/**
 * A collection of TanStack DB over a live collection: `createCollection(branchlineCollection(client, "leads"))`.
 *
 * A transaction of TanStack's is over when its writes are kept on this device, or else by the server; what becomes of them is shown by the collection, and what
 * is refused lies in `client.inbox`. So it works without a connection.
 */

/** @import { CollectionConfig } from "@tanstack/db" */
/** @import { Client } from "./client.js" */
/** @import { Effect, Fields, NameOf, SchemaOf, TopicOptions } from "./types.js" */
/** @import { Write } from "./writer.js" */

/** What differs, for a write of these fields only. @param {Fields} changes @returns {any} */
const written = ({ id, version, updated_at, updated_by, created_at, organization_id, ...fields }) => fields;

/** @param {Write[]} writes */
const kept = (writes) => Promise.all(writes.map(({ local, server }) => local.catch(() => server)));

/**
 * @template {SchemaOf<S>} S
 * @template {NameOf<S>} C
 * @param {Client<S>} client
 * @param {C} collection
 * @param {TopicOptions<S[C]>} [options]
 * @returns {CollectionConfig<S[C], string>}
 */
export function branchlineCollection(client, collection, options = {}) {
  return {
    id: `branchline ${collection} ${JSON.stringify(options)}`,
    getKey: ({ id }) => id,
    sync: {
      rowUpdateMode: "full",
      sync: ({ begin, write, commit, markReady, markError }) => {
        const live = client.live(collection, options);
        /** @param {Pick<Effect<S[C]>, "kind" | "id" | "after">[]} effects */
        const take = (effects) => {
          begin();
          for (const { kind, id, after } of effects) {
            if (after) write({ type: kind === "added" ? "insert" : "update", value: after });
            else write({ type: "delete", key: id });
          }
          void commit();
        };
        take(live.records.map((after) => ({ kind: "added", id: after.id, after })));
        live.on(({ effects }) => effects.length && take(effects));
        const look = () => {
          if (live.state === "ended") markError(live.error);
          else if (live.state !== "loading") markReady();
        };
        live.onState(look);
        look();
        return () => live.close();
      },
    },
    onInsert: async ({ transaction }) => {
      await kept(transaction.mutations.map(({ modified: { id, ...fields } }) => client.insert(collection, written(fields), { id })));
    },
    onUpdate: async ({ transaction }) => {
      await kept(transaction.mutations.map(({ key, changes }) => client.update(collection, key, written(changes))));
    },
    onDelete: async ({ transaction }) => {
      await kept(transaction.mutations.map(({ key }) => client.delete(collection, key)));
    },
  };
}
