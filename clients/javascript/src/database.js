/** The IndexedDB of one person in one organisation: what may not be lost, the cache, the drafts. */

import { openDB, unwrap } from "idb";

/** @import { CachedTopic, Changes, Kept, TopicChanges } from "./types.js" */
/** @import { IDBPDatabase } from "idb" */
/** @import { Seal } from "./seal.js" */

const STORES = ["meta", "queue", "inbox", "losses", "topics", "records", "drafts"];
const DURABLE = ["meta", "queue", "inbox", "losses"];
/** A topic that was not opened for so long is deleted. */
const UNUSED_MS = 30 * 86_400_000;

/** Opens the database, made where there is none. `onBlocking`: another page wants to delete it. @param {string} name @param {() => void} onBlocking */
export async function openDatabase(name, onBlocking) {
  return openDB(name, 1, {
    upgrade(db) {
      for (const store of STORES) db.createObjectStore(store);
    },
    blocking: onBlocking,
  });
}

/** All keys of a store that begin with some parts. @param {IDBValidKey[]} parts */
export const beginning = (...parts) => IDBKeyRange.bound(parts, [...parts, []]);

export class Database {
  /** @type {{ changes: Changes, done(): void, failed(error: unknown): void }[]} */ #waiting = [];
  #isWriting = false;
  #db;
  #seal;
  #maxRecords;

  /** @param {IDBPDatabase} db @param {Seal} seal @param {number} maxRecords */
  constructor(db, seal, maxRecords) {
    this.#db = db;
    this.#seal = seal;
    this.#maxRecords = maxRecords;
  }

  close() {
    this.#db.close();
  }

  // What may not be lost.

  /** @returns {Promise<Kept>} */
  async load() {
    // What is on its way to the disk comes first.
    await this.keep({});
    const seal = this.#seal;
    /** @param {string} store @returns {Promise<any[]>} */
    const all = async (store) => Promise.all((await this.#db.getAll(store)).map((row) => seal.open(row)));
    const [queue = [], inbox = [], losses = []] = await Promise.all(["queue", "inbox", "losses"].map(all));
    queue.sort((a, b) => a.sequence - b.sequence || (a.mutation.mutation_id < b.mutation.mutation_id ? -1 : 1));
    return { queue, inbox, losses, clock: (await this.#db.get("meta", "clock")) ?? null, principal: null };
  }

  /**
   * Commits changes: when this is done, they survive a crash. What comes while a commit is under way shares the next one.
   * @param {Changes} changes
   * @returns {Promise<void>}
   */
  keep(changes) {
    // Copied here: by the time of the commit the queue may have moved on.
    const copy = structuredClone(changes);
    return new Promise((done, failed) => {
      this.#waiting.push({ changes: copy, done, failed });
      void this.#write();
    });
  }

  async #write() {
    if (this.#isWriting) return;
    this.#isWriting = true;
    while (this.#waiting.length) {
      const taken = this.#waiting.splice(0);
      try {
        await this.#commit(taken.map(({ changes }) => changes));
        for (const { done } of taken) done();
      } catch (error) {
        for (const { failed } of taken) failed(error);
      }
    }
    this.#isWriting = false;
  }

  /** @param {Changes[]} all */
  async #commit(all) {
    const seal = this.#seal;
    // Sealed before the transaction begins: it ends when nothing is asked of it.
    const rows = await Promise.all(
      all.map(async ({ put = [], inbox = [], losses = [], ...rest }) => ({
        ...rest,
        put: await Promise.all(put.map(async (each) => [each.mutation.mutation_id, await seal.close(each.mutation.collection, each)])),
        inbox: await Promise.all(inbox.map(async (each) => [each.id, await seal.close(each.mutation.collection, each)])),
        losses: await Promise.all(losses.map(async (each) => [each.id, await seal.close(each.collection, each)])),
      })),
    );
    const tx = this.#db.transaction(DURABLE, "readwrite", { durability: "strict" });
    for (const { put, gone = [], inbox, inbox_gone = [], losses, losses_gone = [], clock } of rows) {
      for (const [store, added, removed] of /** @type {[string, any[], string[]][]} */ ([
        ["queue", put, gone],
        ["inbox", inbox, inbox_gone],
        ["losses", losses, losses_gone],
      ])) {
        for (const id of removed) void tx.objectStore(store).delete(id);
        // Null is what may not be written to this disk.
        for (const [id, row] of added) if (row) void tx.objectStore(store).put(row, id);
      }
      if (clock) void tx.objectStore("meta").put(clock, "clock");
    }
    await tx.done;
  }

  // The cache.

  /** What is kept of a topic. @param {string} topic @returns {Promise<CachedTopic | null>} */
  async fetch(topic) {
    const row = await this.#db.get("topics", topic);
    if (!row) return null;
    const rows = await this.#db.getAll("records", beginning(topic));
    await this.#db.put("topics", { ...row, used_at_ms: Date.now() }, topic);
    return { position: row.position, records: await Promise.all(rows.map((each) => this.#seal.open(each))) };
  }

  /**
   * Writes what changed of some topics, records and position together; keeps the cache below its bound.
   * @param {Map<string, TopicChanges>} topics
   */
  async write(topics) {
    for (const [topic, { collection, position, is_whole, records }] of topics) {
      if (!this.#seal.mayKeep(collection)) continue;
      const rows = await Promise.all(
        [...records].map(async ([id, record]) => /** @type {const} */ ([id, record && (await this.#seal.close(collection, record))])),
      );
      const tx = this.#db.transaction(["topics", "records"], "readwrite");
      // The transaction tells how they end; a promise for each of thousands would take longer than they do.
      const store = unwrap(tx.objectStore("records"));
      if (is_whole) store.delete(beginning(topic));
      for (const [id, row] of rows) row ? store.put(row, [topic, id]) : store.delete([topic, id]);
      void tx.objectStore("topics").put({ collection, position, used_at_ms: Date.now() }, topic);
      await tx.done;
    }
    if ((await this.#db.count("records")) > this.#maxRecords) await this.#shrink(topics);
  }

  /** Forgets the topics that were used the longest ago, though not those that are open. @param {Map<string, unknown>} open */
  async #shrink(open) {
    const keys = /** @type {string[]} */ (await this.#db.getAllKeys("topics"));
    const rows = await this.#db.getAll("topics");
    const oldest = keys.map((topic, i) => ({ topic, at: rows[i].used_at_ms })).sort((a, b) => a.at - b.at);
    for (const { topic } of oldest) {
      if (open.has(topic)) continue;
      await this.forget([topic], []);
      if ((await this.#db.count("records")) <= this.#maxRecords) return;
    }
  }

  /** Deletes topics, and all of some collections. @param {Iterable<string>} topics @param {Iterable<string>} collections */
  async forget(topics, collections) {
    const names = new Set(topics);
    const of = new Set(collections);
    const tx = this.#db.transaction(["topics", "records"], "readwrite");
    for (let cursor = await tx.objectStore("topics").openCursor(); cursor; cursor = await cursor.continue()) {
      const topic = /** @type {string} */ (cursor.key);
      if (!names.has(topic) && !of.has(cursor.value.collection)) continue;
      void tx.objectStore("records").delete(beginning(topic));
      void cursor.delete();
    }
    await tx.done;
  }

  /** Deletes topics that nobody has opened for long. @param {number} now_ms */
  async forgetUnused(now_ms) {
    const keys = /** @type {string[]} */ (await this.#db.getAllKeys("topics"));
    const rows = await this.#db.getAll("topics");
    await this.forget(keys.filter((_, i) => rows[i].used_at_ms < now_ms - UNUSED_MS), []);
  }

  // Drafts, and what else is kept by key.

  /** @param {string} store @param {IDBValidKey} key */
  async get(store, key) {
    const row = await this.#db.get(store, key);
    return row && this.#seal.open(row);
  }

  /** @param {string} store @param {IDBValidKey | IDBKeyRange} key @param {string} [collection] @param {unknown} [value] nothing deletes */
  async set(store, key, collection = "", value) {
    const row = value === undefined ? undefined : await this.#seal.close(collection, { value });
    const tx = this.#db.transaction(store, "readwrite", { durability: "strict" });
    if (row) void tx.store.put(row, /** @type {IDBValidKey} */ (key));
    else void tx.store.delete(key);
    await tx.done;
  }

  /** All of a store's keys and values in a range. @param {string} store @param {IDBKeyRange} range @returns {Promise<[any, any][]>} */
  async entries(store, range) {
    const [keys, rows] = await Promise.all([this.#db.getAllKeys(store, range), this.#db.getAll(store, range)]);
    return Promise.all(rows.map(async (row, i) => /** @type {[any, any]} */ ([keys[i], (await this.#seal.open(row)).value])));
  }
}
