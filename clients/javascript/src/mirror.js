/**
 * PURE. A copy of what the server shows of one topic: snapshot, then change upon change. One for all who show the topic.
 *
 * A snapshot's records may be newer than its position, so a change whose version is not above its record's is known
 * already and skipped.
 */

/** @import { Change, Position, Record_ } from "./types.js" */

export class Mirror {
  /** By id. A record is never changed in place: whoever holds one keeps what it was. @type {Map<string, Record_>} */
  records = new Map();
  /** @type {Position | null} */ position = null;
  /**
   * Just after a snapshot, changes of records that it does not have may come: they were gone again when their page was
   * read. Once the server has said by a second `head` that everything is there, such a change means that something is
   * missing.
   */
  isSettled = true;
  /** Pending writes of this person that the changes so far have named. @type {Set<string>} */
  confirmed = new Set();

  /** @param {string} collection */
  constructor(collection) {
    this.collection = collection;
  }

  /**
   * Takes a snapshot.
   * @param {[string, Record_][]} records
   * @param {Position | null} position
   */
  replace(records, position) {
    this.records = new Map(records.filter(([name]) => name === this.collection).map(([, record]) => [record.id, record]));
    this.position = position;
    this.isSettled = false;
  }

  /**
   * Takes all changes up to a position; gives those that had an effect, the last one of each record, or null where one cannot be
   * applied: the mirror is then to be replaced.
   * @param {Change[]} changes
   * @param {Position} position
   * @returns {Map<string, Change> | null}
   */
  advance(changes, position) {
    /** @type {Map<string, Change>} */ const touched = new Map();
    for (const change of changes) {
      if (change.collection !== this.collection) continue;
      const { id, operation, version, fields } = change;
      const held = this.records.get(id);
      if (held && version <= held.version) continue;
      if (operation === "insert" || operation === "enter") this.records.set(id, /** @type {any} */ (fields));
      else if (operation !== "update") {
        if (!this.records.delete(id)) continue;
      } else if (held) this.records.set(id, { ...held, ...fields, id, version });
      else if (this.isSettled) return null;
      else continue;
      touched.set(id, change);
    }
    this.position = position;
    return touched;
  }
}
