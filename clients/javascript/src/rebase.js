/**
 * PURE. What a person sees: the server's state with their own pending writes on top. Whenever the server's state moves,
 * the pending writes are undone and redone on the new one: nothing is ever patched.
 */

/** @import { Fields, Mutation, Record_ } from "./types.js" */

/**
 * Gives a record as its author should see it, undefined if there is none. `pending` are its writes that the server's state does not
 * hold yet, in order; `defaults` are fields that a new record gets.
 * @param {Record_ | undefined} server
 * @param {Iterable<Mutation>} pending
 * @param {Fields} defaults
 * @returns {Record_ | undefined}
 */
export function visibleRecord(server, pending, defaults) {
  let record = server;
  for (const { operation, fields, id, made_at_ms } of pending) {
    if (operation === "insert") record = { ...(record ?? { ...newRecord(made_at_ms), ...defaults }), ...fields, id, version: record?.version ?? 0 };
    else if (operation === "delete") record = undefined;
    else if (record) record = { ...record, ...fields, id, version: record.version };
  }
  return record;
}

/** So that a new record has its place in an order by age before the server has dated it. @param {number} made_at_ms */
const newRecord = (made_at_ms) => ({ version: 0, created_at: new Date(made_at_ms).toISOString().replace("Z", "000Z") });
