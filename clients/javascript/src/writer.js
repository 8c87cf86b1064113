/** Writes: shown at once, kept on this device, pushed, settled; and the inbox and the losses that come of them. */

import { uuidv7 } from "uuidv7";
import { later, seeServerTime, tick } from "./clock.js";
import { BranchlineError } from "./errors.js";
import { DEPENDENCY_CODE, Queue } from "./queue.js";

/** @import { Changes, ClockState, Fields, InboxEntry, Kept, Loss, Mode, Mutation, Operation, Pending, Result, Store } from "./types.js" */

/**
 * One write. It is visible when this object is. `local` is done when the write is kept on this device: from then on it survives a
 * crash; it fails with `store_failed`, and the write goes on from memory. `server` is done when the server has it, with the result; it fails with `refused`, whose
 * `entry` is in the inbox. A promise that nobody looks at raises nothing.
 * @typedef {{ id: string, mutation_id: string, local: Promise<void>, server: Promise<Result> }} Write
 * @typedef {{ resolve(result: Result): void, reject(error: Error): void }} Waiter
 */

export class Writer {
  queue;
  /** @type {Map<string, InboxEntry>} */ inbox = new Map();
  /** @type {Map<string, Loss>} */ losses = new Map();
  /** @type {ClockState} */ clock = { last: "", seen: "", offset_ms: 0 };
  /** By whom this page's clocks are set: another one for each page, since two may stamp in the same millisecond. */
  client_id;
  /** Told of records whose pending writes have changed. @type {(mutations: Mutation[]) => void} */ onTouched = () => {};
  /** Told when there is something new to push. @type {() => void} */ onKept = () => {};
  /** Told of what was kept, for other tabs. @type {(changes: Changes) => void} */ onChanges = () => {};
  /** Told of inbox entries and losses that are new. @type {(entry: InboxEntry) => void} */ onRefused = () => {};
  /** @type {(loss: Loss) => void} */ onLost = () => {};
  /** @type {Map<string, Waiter>} */ #waiters = new Map();
  /** @type {Set<string> | null} */ #removed = null;
  /** Writes that this device could not keep so far. @type {Set<string>} */ #unkept = new Set();
  #store;

  /**
   * @param {Store | null} store null: memory, which survives nothing
   * @param {number} refusedTries
   * @param {string} client_id
   */
  constructor(store, refusedTries, client_id) {
    this.#store = store;
    this.queue = new Queue(refusedTries);
    this.client_id = client_id;
  }

  /**
   * Takes what the store holds. What is removed here while it is read stays removed.
   * @param {() => Promise<Kept>} read
   */
  async load(read) {
    /** @type {Set<string>} */ const removed = (this.#removed = new Set());
    const { queue, inbox, losses, clock } = await read();
    this.#removed = null;
    this.queue.unsent(this.queue.pending.values());
    if (clock) this.clock = { ...clock, last: later(this.clock.last, clock.last), seen: later(this.clock.seen, clock.seen) };
    for (const pending of queue) {
      const { mutation_id } = pending.mutation;
      if (removed.has(`queue ${mutation_id}`) || this.queue.pending.has(mutation_id)) continue;
      if (pending.stage !== "answered") pending.stage = "queued";
      this.queue.put(pending);
    }
    this.queue.shiftClocks(this.clock.offset_ms);
    for (const entry of inbox) if (!removed.has(`inbox ${entry.id}`)) this.#toInbox(entry);
    for (const loss of losses) if (!removed.has(`losses ${loss.id}`)) this.losses.set(loss.id, loss);
    this.onTouched(queue.map(({ mutation }) => mutation));
    if (queue.length) this.onKept();
  }

  /** All that may not be lost. @returns {Changes} */
  held() {
    const { queue, inbox, losses, clock } = this;
    return { put: [...queue.pending.values()], inbox: [...inbox.values()], losses: [...losses.values()], clock };
  }

  /** Whether a write without an answer is not kept on this device. @param {Pending} pending */
  isLocal({ stage, mutation }) {
    return stage === "local" || (stage !== "answered" && this.#unkept.has(mutation.mutation_id));
  }

  /** The time by the server's clock, in Unix milliseconds. */
  now = () => Date.now() + this.clock.offset_ms;

  // Writing.

  /**
   * @param {Operation} operation
   * @param {string} collection
   * @param {string} id
   * @param {Fields} fields
   * @param {{ base_version?: number | undefined, mode?: Mode | undefined }} [options]
   * @returns {Write}
   */
  write(operation, collection, id, fields, options = {}) {
    return /** @type {Write} */ (this.#enqueue([this.#mutation(operation, collection, id, fields, options)])[0]);
  }

  /**
   * Tries an entry of the inbox again, as a new write, with what was set aside because of it. `fields` replace its own.
   * @param {string} entry_id
   * @param {Fields} [fields]
   */
  retry(entry_id, fields) {
    const entry = this.inbox.get(entry_id);
    if (!entry) throw new RangeError(`there is no ${entry_id} in the inbox`);
    const isDependant = (/** @type {InboxEntry} */ each) => each.code === DEPENDENCY_CODE && each.depends_on.includes(entry_id);
    const entries = [entry, ...[...this.inbox.values()].filter(isDependant)];
    const mutations = entries.map(({ mutation: old, record }) =>
      this.#mutation(old.operation, old.collection, old.id, (old === entry.mutation && fields) || old.fields, {
        base_version: record?.version ?? old.base_version,
        mode: old.mode,
      }),
    );
    const inbox_gone = entries.map(({ id }) => id);
    this.apply({ inbox_gone });
    return this.#enqueue(mutations, { inbox_gone });
  }

  /** Takes an entry out of the inbox, or a loss from the list, for good. @param {Changes} changes */
  async discard(changes) {
    this.apply(changes);
    await this.#keep(changes);
  }

  // What becomes of them.

  /** Keeps what the answers to a batch brought, shows it, and tells the writers. @param {Changes} changes */
  async settle(changes) {
    const { results = [], inbox = [] } = changes;
    for (const { clock } of results) if (clock) this.see(clock);
    changes.clock = this.clock;
    this.apply(changes);
    this.onTouched(inbox.map(({ mutation }) => mutation));
    await this.#keepOrLog(changes);
    this.#answer(changes);
  }

  /** Puts queued writes into the inbox. @param {(mutation: Mutation) => boolean} concerns @param {string} code @param {string} message */
  async setAside(concerns, code, message) {
    const inbox = this.queue.setAside(concerns, code, message, this.now());
    if (inbox.length) await this.settle({ inbox, gone: inbox.map(({ id }) => id) });
  }

  /** Keeps values of this person's that others replaced, and tells of those that are new. @param {Loss[]} losses */
  async noteLosses(losses) {
    const fresh = losses.filter(({ id }) => !this.losses.has(id));
    if (fresh.length) await this.settle({ losses: fresh });
  }

  /** Forgets answered writes that every copy holds by now. @param {(pending: Pending) => boolean} isHeld */
  release(isHeld) {
    const held = [...this.queue.pending.values()].filter((pending) => pending.stage === "answered" && isHeld(pending));
    const gone = held.map(({ mutation }) => mutation.mutation_id);
    if (!gone.length) return;
    this.apply({ gone });
    void this.#keepOrLog({ gone });
  }

  /** Takes changes that another tab has kept. @param {Changes} changes */
  take(changes) {
    const { clock } = changes;
    if (clock) {
      const { last, seen, offset_ms } = clock;
      this.clock = { last: this.clock.last, seen: later(later(this.clock.seen, last), seen), offset_ms };
    }
    for (const pending of changes.put ?? []) if (pending.stage === "local") pending.stage = "queued";
    this.apply(changes);
    this.#answer(changes);
    if (changes.put?.length) this.onKept();
  }

  /** Shows changes here. @param {Changes} changes */
  apply({ put = [], gone = [], inbox = [], inbox_gone = [], losses = [], losses_gone = [] }) {
    const touched = put.map(({ mutation }) => mutation);
    for (const [kind, ids] of Object.entries({ queue: gone, inbox: inbox_gone, losses: losses_gone })) {
      for (const id of ids) this.#removed?.add(`${kind} ${id}`);
    }
    for (const id of gone) {
      const pending = this.queue.pending.get(id);
      if (pending) touched.push(pending.mutation);
      this.queue.remove(id);
    }
    for (const pending of put) this.queue.put(pending);
    for (const entry of inbox) this.#toInbox(entry);
    for (const id of inbox_gone) this.inbox.delete(id);
    for (const loss of losses) this.losses.set(loss.id, loss);
    for (const id of losses_gone) this.losses.delete(id);
    this.onTouched(touched);
  }

  // The clock.

  /** Moves past a clock that was received. It is kept with the next write. @param {string} clock */
  see(clock) {
    const seen = later(this.clock.seen, clock);
    if (seen !== this.clock.seen) this.clock = { ...this.clock, seen };
  }

  /** Learns the server's time. @param {number} server_ms @param {number} round_trip_ms @param {number} [error_ms] */
  seeServerTime(server_ms, round_trip_ms, error_ms = 0) {
    const clock = seeServerTime(this.clock, server_ms, Date.now() - round_trip_ms / 2, round_trip_ms + error_ms);
    if (clock === this.clock) return;
    this.clock = clock;
    void this.#keepOrLog({ put: this.queue.shiftClocks(clock.offset_ms), clock });
  }

  // Parts.

  /**
   * @param {Operation} operation
   * @param {string} collection
   * @param {string} id
   * @param {Fields} fields
   * @param {{ base_version?: number | undefined, mode?: Mode | undefined }} options
   * @returns {Mutation}
   */
  #mutation(operation, collection, id, fields, { base_version, mode }) {
    const { last, seen: floor, offset_ms } = this.clock;
    const made_at_ms = this.now();
    const clock = tick(later(last, floor), made_at_ms, this.client_id);
    this.clock = { ...this.clock, last: clock };
    return { mutation_id: uuidv7(), collection, id, operation, fields: { ...fields }, base_version, mode, clock, made_at_ms, offset_ms, floor };
  }

  /** @param {Mutation[]} mutations @param {Changes} [changes] @returns {Write[]} */
  #enqueue(mutations, changes = {}) {
    const put = mutations.map((mutation) => this.queue.add(mutation));
    const local = this.#keepQueued(put, { ...changes, put, clock: this.clock });
    const writes = mutations.map(({ id, mutation_id }) => {
      /** @type {Promise<Result>} */
      const server = new Promise((resolve, reject) => this.#waiters.set(mutation_id, { resolve, reject }));
      server.catch(() => {});
      return { id, mutation_id, local, server };
    });
    local.catch(() => {});
    this.onTouched(mutations);
    return writes;
  }

  /** @param {Pending[]} put @param {Changes} changes */
  async #keepQueued(put, changes) {
    let error = null;
    try {
      await this.#keep(changes);
    } catch (cause) {
      error = new BranchlineError("store_failed", "this device cannot keep what was typed: it is lost if the page is closed before it is saved", { cause });
      for (const { mutation } of put) this.#unkept.add(mutation.mutation_id);
    }
    // Also what is in memory only: once the server has it, it is safe.
    for (const { mutation } of put) {
      const pending = this.queue.pending.get(mutation.mutation_id);
      if (pending?.stage === "local") pending.stage = "queued";
    }
    this.onTouched(put.map(({ mutation }) => mutation));
    this.onKept();
    if (error) throw error;
  }

  /** Keeps changes, and all that could not be kept before. Other tabs are told in any case: one of them sends. @param {Changes} changes */
  async #keep(changes) {
    try {
      await this.#store?.keep(changes);
      this.#unkept.clear();
    } finally {
      this.onChanges(changes);
    }
  }

  /** Keeps what the server has told. If this device cannot, it asks the server again after its next start. @param {Changes} changes */
  #keepOrLog(changes) {
    return this.#keep(changes).catch((error) => console.error("branchline: not kept on this device:", error));
  }

  /** @param {Changes} changes */
  #answer({ results = [], inbox = [], losses = [] }) {
    for (const result of results) this.#waiter(result.mutation_id)?.resolve(result);
    for (const entry of inbox) {
      this.#waiter(entry.id)?.reject(new BranchlineError("refused", `${entry.code}: ${entry.message}`, { entry }));
      this.onRefused(entry);
    }
    for (const loss of losses) this.onLost(loss);
  }

  /** @param {string} id */
  #waiter(id) {
    const waiter = this.#waiters.get(id);
    this.#waiters.delete(id);
    return waiter;
  }

  /** @param {InboxEntry} entry */
  #toInbox(entry) {
    this.inbox.set(entry.id, entry);
    this.queue.noteRefused(entry.mutation);
  }
}
