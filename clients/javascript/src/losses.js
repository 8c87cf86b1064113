/** Values of this person's that others have replaced: told by changes as they come, and by the API for the time away. */

/** @import { Change, Loss } from "./types.js" */

/** @param {string} collection @param {string} record_id @param {string} field @param {number} version @param {Pick<Loss, "mine" | "theirs" | "by" | "at_ms">} rest @returns {Loss} */
const loss = (collection, record_id, field, version, rest) => ({
  id: `${collection}/${record_id}/${field}@${version}`,
  kind: "overwritten",
  collection,
  record_id,
  field,
  ...rest,
});

/** PURE. What of a person's the changes have replaced unseen. @param {Change[]} changes @param {string} user_id @returns {Loss[]} */
export const lossesIn = (changes, user_id) =>
  changes.flatMap(({ collection, id, version, fields, actor, committed_at_ms: at_ms, overwrote = [] }) =>
    overwrote
      .filter(({ by }) => by === user_id)
      .map(({ field, value: mine }) =>
        loss(collection, id, field, version, { mine, theirs: fields[field], by: actor?.user_id ?? null, at_ms }),
      ),
  );

/** PURE. Reads an item of `GET /api/overwritten`. @param {any} item @returns {Loss} */
export const readLoss = ({ collection, record_id, field, version, mine, theirs, by, at_ms }) =>
  loss(collection, record_id, field, version, { mine, theirs, by: by?.user_id ?? null, at_ms });
