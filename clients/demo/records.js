/** The records of one collection as the server last told them, the newest first. No browser needed. */

export class Records {
  #byId = new Map();
  /** All records, ordered by `created_at` and id, the newest first. Do not change it. */
  ordered = [];

  get size() {
    return this.ordered.length;
  }

  get(id) {
    return this.#byId.get(id);
  }

  replace(records) {
    this.#byId = new Map(records.map((record) => [record.id, record]));
    this.ordered = [...this.#byId.values()].sort(newestFirst);
  }

  /**
   * Applies a change and answers what it did: `{kind: "inserted" | "updated" | "removed", record, before}`,
   * or null if it is known already. A record may be newer than the changes that lead to it, so one whose
   * version is not above the record's says nothing new.
   */
  apply(change) {
    const before = this.#byId.get(change.id);
    if (before && change.version <= before.version) return null;
    switch (change.operation) {
      case "insert":
      case "enter":
        return this.#put({ ...change.fields, version: change.version }, before);
      case "update":
        return before ? this.#put({ ...before, ...change.fields, version: change.version }, before) : null;
      default:
        return before ? this.#remove(before) : null;
    }
  }

  /** Takes a record as an answer to a write gave it, unless a newer one is here. */
  accept(record) {
    const before = this.#byId.get(record.id);
    return before && record.version <= before.version ? null : this.#put(record, before);
  }

  #put(record, before) {
    this.#byId.set(record.id, record);
    if (before && newestFirst(before, record) === 0) {
      this.ordered[this.#placeOf(before)] = record;
    } else {
      if (before) this.ordered.splice(this.#placeOf(before), 1);
      this.ordered.splice(this.#placeOf(record), 0, record);
    }
    return { kind: before ? "updated" : "inserted", record, before };
  }

  #remove(record) {
    this.#byId.delete(record.id);
    this.ordered.splice(this.#placeOf(record), 1);
    return { kind: "removed", record, before: record };
  }

  /** Where a record stands, or would stand. */
  #placeOf(record) {
    let [low, high] = [0, this.ordered.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (newestFirst(this.ordered[middle], record) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function newestFirst(a, b) {
  if (a.created_at !== b.created_at) return a.created_at < b.created_at ? 1 : -1;
  return a.id === b.id ? 0 : a.id < b.id ? 1 : -1;
}
