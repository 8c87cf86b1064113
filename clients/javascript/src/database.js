/** The IndexedDB of one person in one organisation: what may not be lost, the cache, the drafts. */

import { openDB, unwrap } from "idb";
import { Seal, openKey } from "./seal.js";

/** @import { CachedTopic, Changes, Kept, TopicChanges } from "./types.js" */
/** @import { IDBPDatabase } from "idb" */

const STORES = ["meta", "queue", "inbox", "losses", "topics", "records", "drafts"];
const DURABLE = ["meta", "queue", "inbox", "losses"];
/** A topic that was not opened for so long is deleted. */
const UNUSED_MS = 30 * 86_400_000;

/**
 * `lost`: the browser has closed the database under the page, as when site data is cleared or another page deletes it. `reopened`: it is
 * open again, and may be an empty one.
 * @typedef {{ sensitive: readonly string[], maxRecords: number, lost(): void, reopened(): void }} DatabaseHost
 * @typedef {{ db: IDBPDatabase, seal: Seal }} Opened
 * @typedef {{ store: string, id: string, collection: string, value: object | null }} Row null: to be deleted
 */

/** All keys of a store that begin with some parts. @param {IDBValidKey[]} parts */
export const beginning = (...parts) => IDBKeyRange.bound(parts, [...parts, []]);

export class Database {
  /** @type {{ changes: Changes, done(): void, failed(error: unknown): void }[]} */ #waiting = [];
  #isWriting = false;
  /** What is to be written, by store and id. What a commit could not write goes with the next one. @type {Map<string, Row>} */ #owed = new Map();
  /** @type {Promise<Opened> | null} */ #opened = null;
  #wasOpen = false;
  #isClosed = false;
  #name;
  #host;

  /** @param {string} name @param {DatabaseHost} host */
  constructor(name, host) {
    this.#name = name;
    this.#host = host;
  }

  /** Opens the database, made where there is none; again if it was lost. */
  open() {
    this.#opened ??= this.#connect().catch((error) => {
      this.#opened = null;
      throw error;
    });
    return this.#opened;
  }

  /** @returns {Promise<Opened>} */
  async #connect() {
    if (this.#isClosed) throw new Error("the client was closed");
    const lost = () => {
      this.#opened = null;
      this.#host.lost();
    };
    const db = await openDB(this.#name, 1, {
      upgrade(made) {
        for (const store of STORES) made.createObjectStore(store);
      },
      blocking() {
        db.close();
        lost();
      },
      terminated: lost,
    });
    const seal = new Seal(this.#host.sensitive, await openKey(db));
    if (this.#wasOpen) this.#host.reopened();
    this.#wasOpen = true;
    return { db, seal };
  }

  /** For good. */
  async close() {
    this.#isClosed = true;
    (await this.#opened?.catch(() => null))?.db.close();
  }

  // What may not be lost.

  /** @returns {Promise<Kept>} */
  async load() {
    // What is on its way to the disk comes first; what cannot be written does not keep from reading.
    await this.keep({}).catch(() => {});
    const { db, seal } = await this.open();
    /** @param {string} store @returns {Promise<any[]>} */
    const all = async (store) => Promise.all((await db.getAll(store)).map((row) => seal.open(row)));
    const [queue = [], inbox = [], losses = []] = await Promise.all(["queue", "inbox", "losses"].map(all));
    queue.sort((a, b) => a.sequence - b.sequence || (a.mutation.mutation_id < b.mutation.mutation_id ? -1 : 1));
    const [clock = null, principal = null, pause] = await Promise.all(["clock", "principal", "pause"].map((key) => db.get("meta", key)));
    return { queue, inbox, losses, clock, principal, is_paused: !!pause };
  }

  /**
   * Commits changes, and with them all that could not be committed before: when this is done, they survive a crash. What comes while a
   * commit is under way shares the next one.
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

  /** Leaves to another tab what that has changed since. @param {Changes} changes */
  leave(changes) {
    for (const { store, id } of rowsOf(changes)) this.#owed.delete(`${store} ${id}`);
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
    for (const row of all.flatMap(rowsOf)) this.#owed.set(`${row.store} ${row.id}`, row);
    const owed = [...this.#owed];
    const { db, seal } = await this.open();
    // Sealed before the transaction begins: it ends when nothing is asked of it.
    const rows = await Promise.all(
      owed.map(async ([, row]) => ({ ...row, sealed: row.value && (await seal.close(row.collection, row.value)) })),
    );
    const tx = db.transaction(DURABLE, "readwrite", { durability: "strict" });
    for (const { store: name, id, value, sealed } of rows) {
      // The transaction tells how all of them end.
      const store = unwrap(tx.objectStore(name));
      if (!value) store.delete(id);
      // What may not be written to this disk is not sealed.
      else if (sealed) store.put(sealed, id);
    }
    await tx.done;
    for (const [key, row] of owed) if (this.#owed.get(key) === row) this.#owed.delete(key);
  }

  // The cache.

  /** What is kept of a topic. @param {string} topic @returns {Promise<CachedTopic | null>} */
  async fetch(topic) {
    const { db, seal } = await this.open();
    const row = await db.get("topics", topic);
    if (!row) return null;
    const rows = await db.getAll("records", beginning(topic));
    await db.put("topics", { ...row, used_at_ms: Date.now() }, topic);
    return { position: row.position, records: await Promise.all(rows.map((each) => seal.open(each))) };
  }

  /**
   * Writes what changed of some topics, records and position together, where `opened` is what they differ from; keeps the cache below
   * its bound.
   * @param {Opened} opened
   * @param {Map<string, TopicChanges>} topics
   */
  async write({ db, seal }, topics) {
    for (const [topic, { collection, position, is_whole, records }] of topics) {
      if (!seal.mayKeep(collection)) continue;
      const rows = await Promise.all(
        [...records].map(async ([id, record]) => /** @type {const} */ ([id, record && (await seal.close(collection, record))])),
      );
      const tx = db.transaction(["topics", "records"], "readwrite");
      // The transaction tells how they end; a promise for each of thousands would take longer than they do.
      const store = unwrap(tx.objectStore("records"));
      if (is_whole) store.delete(beginning(topic));
      for (const [id, row] of rows) row ? store.put(row, [topic, id]) : store.delete([topic, id]);
      void tx.objectStore("topics").put({ collection, position, used_at_ms: Date.now() }, topic);
      await tx.done;
    }
    if ((await db.count("records")) > this.#host.maxRecords) await this.#shrink(db, topics);
  }

  /** Forgets the topics that were used the longest ago, though not those that are open. @param {IDBPDatabase} db @param {Map<string, unknown>} open */
  async #shrink(db, open) {
    const keys = /** @type {string[]} */ (await db.getAllKeys("topics"));
    const rows = await db.getAll("topics");
    const oldest = keys.map((topic, i) => ({ topic, at: rows[i].used_at_ms })).sort((a, b) => a.at - b.at);
    for (const { topic } of oldest) {
      if (open.has(topic)) continue;
      await this.forget([topic], []);
      if ((await db.count("records")) <= this.#host.maxRecords) return;
    }
  }

  /** Deletes topics, and all of some collections. @param {Iterable<string>} topics @param {Iterable<string>} collections */
  async forget(topics, collections) {
    const names = new Set(topics);
    const of = new Set(collections);
    const { db } = await this.open();
    const tx = db.transaction(["topics", "records"], "readwrite");
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
    const { db } = await this.open();
    const keys = /** @type {string[]} */ (await db.getAllKeys("topics"));
    const rows = await db.getAll("topics");
    await this.forget(keys.filter((_, i) => rows[i].used_at_ms < now_ms - UNUSED_MS), []);
  }

  // Drafts, and what else is kept by key.

  /** @param {string} store @param {IDBValidKey} key */
  async get(store, key) {
    const { db, seal } = await this.open();
    const row = await db.get(store, key);
    return row && seal.open(row);
  }

  /** @param {string} store @param {IDBValidKey | IDBKeyRange} key @param {string} [collection] @param {unknown} [value] nothing deletes */
  async set(store, key, collection = "", value) {
    const { db, seal } = await this.open();
    const row = value === undefined ? undefined : await seal.close(collection, { value });
    const tx = db.transaction(store, "readwrite", { durability: "strict" });
    const kept = unwrap(tx.store);
    if (row) kept.put(row, /** @type {IDBValidKey} */ (key));
    else kept.delete(key);
    await tx.done;
  }

  /** All of a store's keys and values in a range. @param {string} store @param {IDBKeyRange} range @returns {Promise<[any, any][]>} */
  async entries(store, range) {
    const { db, seal } = await this.open();
    const [keys, rows] = await Promise.all([db.getAllKeys(store, range), db.getAll(store, range)]);
    return Promise.all(rows.map(async (row, i) => /** @type {[any, any]} */ ([keys[i], (await seal.open(row)).value])));
  }
}

/** What changes are on the disk. @param {Changes} changes @returns {Row[]} */
function rowsOf({ put = [], gone = [], inbox = [], inbox_gone = [], losses = [], losses_gone = [], clock, principal, is_paused }) {
  /** @param {string} store @param {string[]} ids */
  const deleted = (store, ids) => ids.map((id) => ({ store, id, collection: "", value: null }));
  return [
    ...deleted("queue", gone),
    ...deleted("inbox", inbox_gone),
    ...deleted("losses", losses_gone),
    ...put.map((value) => ({ store: "queue", id: value.mutation.mutation_id, collection: value.mutation.collection, value })),
    ...inbox.map((value) => ({ store: "inbox", id: value.id, collection: value.mutation.collection, value })),
    ...losses.map((value) => ({ store: "losses", id: value.id, collection: value.collection, value })),
    ...(clock ? [{ store: "meta", id: "clock", collection: "", value: clock }] : []),
    ...(principal ? [{ store: "meta", id: "principal", collection: "", value: principal }] : []),
    ...(is_paused === undefined ? [] : [{ store: "meta", id: "pause", collection: "", value: is_paused ? {} : null }]),
  ];
}
