/**
 * PURE. The queue of writes: which are sent next, and what follows from their answers. Reasons in `clients/CONTRACT.md`.
 *
 * - A write is sent when it is kept safely on this device.
 * - At most one write of a record is on its way, unless they all merge: what follows it may depend on its answer.
 * - A write that refers to a record which is still to be inserted goes after that insert, or with it.
 * - A refused write leaves the queue. Only what was to follow a refused insert of the same record goes with it.
 */

import { after, clientOf, shift } from "./clock.js";

/** @import { Changes, InboxEntry, Loss, Mutation, Pending, Result, Stage } from "./types.js" */

/** Refusals that say nothing of the write: it is tried again. */
const TRANSIENT = ["unavailable", "too_busy", "internal", "rate_exceeded"];
export const DEPENDENCY_CODE = "refused_by_dependency";

/** The record that a write is about. @param {{ collection: string, id: string }} mutation */
export const keyOfRecord = ({ collection, id }) => `${collection}/${id}`;

/** Whether two writes of one record may share a request: neither cares for what becomes of the other. @param {Mutation} a @param {Mutation} b */
const mergeAlike = (a, b) => [a, b].every(({ operation, mode }) => operation === "update" && mode === "merge");

export class Queue {
  /** All writes that the server's state, as the views have it, does not hold yet, in their order. @type {Map<string, Pending>} */
  pending = new Map();
  /** @type {Map<string, Map<string, Pending>>} */ #ofRecord = new Map();
  /** The open inserts, by the record's id. @type {Map<string, string>} */ #inserts = new Map();
  /** @type {Map<string, string>} */ #refusedInserts = new Map();
  #sequence = 0;

  /** @param {number} [refusedTries] */
  constructor(refusedTries = 5) {
    this.refusedTries = refusedTries;
  }

  /** How many have no answer yet. */
  get size() {
    let open = 0;
    for (const { stage } of this.pending.values()) if (stage !== "answered") open++;
    return open;
  }

  /** The writes of a record, in their order. @param {string} key @returns {Pending[]} */
  ofRecord(key) {
    return [...(this.#ofRecord.get(key)?.values() ?? [])];
  }

  /**
   * The version that the author of a record's writes has seen: `version` is the newest copy's, and an answered write made the one
   * after it, which the copy may not have yet. One that did not make exactly the next has somebody else's before it.
   * @param {string} key
   * @param {number | undefined} version
   */
  seenVersion(key, version) {
    for (const pending of this.ofRecord(key)) {
      const made = pending.answer?.version;
      if (made == null || !hasWritten(pending)) continue;
      if (pending.mutation.operation === "insert" || made === (version ?? made) + 1) version = Math.max(version ?? 0, made);
    }
    return version;
  }

  /** The ids of a collection's records that have writes. @param {string} collection */
  *idsOf(collection) {
    for (const key of this.#ofRecord.keys()) if (key.startsWith(`${collection}/`)) yield key.slice(collection.length + 1);
  }

  /**
   * Takes a new write.
   * @param {Mutation} mutation
   * @returns {Pending}
   */
  add(mutation) {
    return this.put({
      sequence: this.#sequence + 1,
      mutation,
      written: mutation,
      stage: "local",
      attempts: 0,
      was_sent: false,
      refers_to: this.#named(mutation, this.#inserts),
    });
  }

  /**
   * Takes a write as another tab or the disk has it, in place of what is known of it.
   * @param {Pending} pending
   * @returns {Pending}
   */
  put(pending) {
    const { mutation, stage, sequence } = pending;
    const { mutation_id } = mutation;
    const key = keyOfRecord(mutation);
    this.#sequence = Math.max(this.#sequence, sequence);
    this.pending.set(mutation_id, pending);
    if (!this.#ofRecord.has(key)) this.#ofRecord.set(key, new Map());
    this.#ofRecord.get(key)?.set(mutation_id, pending);
    if (stage === "answered") this.#close(mutation);
    else if (mutation.operation === "insert") this.#inserts.set(mutation.id, mutation_id);
    return pending;
  }

  /**
   * Takes a write out.
   * @param {string} mutation_id
   */
  remove(mutation_id) {
    const pending = this.pending.get(mutation_id);
    if (!pending) return;
    const key = keyOfRecord(pending.mutation);
    this.#close(pending.mutation);
    this.pending.delete(mutation_id);
    const ofRecord = this.#ofRecord.get(key);
    ofRecord?.delete(mutation_id);
    if (!ofRecord?.size) this.#ofRecord.delete(key);
  }

  /** Remembers a refused insert, so that what refers to its record can say what it depended on. @param {Mutation} mutation */
  noteRefused({ operation, id, mutation_id }) {
    if (operation === "insert") this.#refusedInserts.set(id, mutation_id);
  }

  // Sending.

  /**
   * Gives what can be sent in one request, in order, and notes it as sent. All of it was stamped by one client.
   * @param {number} limit
   * @param {number} limitBytes
   * @returns {Pending[]}
   */
  nextBatch(limit, limitBytes) {
    /** @type {Map<string, Pending>} */ const batch = new Map();
    /** @type {Map<string, Pending | null>} The last of each record, null if what follows has to wait. */ const last = new Map();
    let used = 0;
    let client = "";
    for (const pending of this.pending.values()) {
      const { mutation, stage } = pending;
      const key = keyOfRecord(mutation);
      const before = last.get(key);
      if (stage === "answered" || before === null) continue;
      const size = 300 + JSON.stringify(mutation.fields).length * 3;
      if (batch.size >= limit || (batch.size && used + size > limitBytes)) break;
      const isNext =
        stage === "queued" &&
        (!before || mergeAlike(before.mutation, mutation)) &&
        (!client || client === clientOf(mutation.clock)) &&
        !pending.refers_to.some((id) => !batch.has(id) && (this.pending.get(id)?.stage ?? "answered") !== "answered");
      last.set(key, isNext ? pending : null);
      if (!isNext) continue;
      client = clientOf(mutation.clock);
      batch.set(mutation.mutation_id, pending);
      used += size;
    }
    for (const pending of batch.values()) {
      pending.stage = "sent";
      pending.was_sent = true;
    }
    return [...batch.values()];
  }

  /** A request failed, and nothing is known of its writes: they are to be sent again, with the same ids (I6). @param {Iterable<Pending>} batch */
  unsent(batch) {
    for (const pending of batch) if (pending.stage === "sent") pending.stage = "queued";
  }

  /**
   * Takes the answers to a batch. What has no answer is sent again: `again` says whether there is such.
   * @param {Pending[]} batch
   * @param {Result[]} results
   * @param {{ epoch: string, offset: number }} at
   * @param {number} now_ms
   * @returns {Required<Pick<Changes, "put" | "gone" | "inbox" | "losses" | "results">> & { again: boolean }}
   */
  settle(batch, results, at, now_ms) {
    /** @type {Set<Pending>} */ const put = new Set();
    const made = { gone: [], inbox: [], losses: [], results: [], again: false };
    /** @type {ReturnType<Queue["settle"]>} */ const settled = { ...made, put: [] };
    const answers = new Map(results.map((result) => [result.mutation_id, result]));
    for (const { mutation } of batch) {
      const { mutation_id } = mutation;
      const pending = this.pending.get(mutation_id);
      if (pending?.stage !== "sent") continue;
      /** @type {Result} */
      const result = answers.get(mutation_id) ?? { mutation_id, status: "rejected", code: "unavailable" };
      if (result.status !== "rejected") {
        for (const each of this.#answered(pending, result, at)) put.add(each);
        settled.losses.push(...lossesOf(pending.mutation, result));
        settled.results.push(result);
      } else if (TRANSIENT.includes(result.code ?? "") && ++pending.attempts < this.refusedTries) {
        pending.stage = "queued";
        put.add(pending);
        settled.again = true;
      } else settled.inbox.push(...this.#refuse(pending, result, now_ms));
    }
    settled.put = [...put];
    settled.gone = settled.inbox.map(({ id }) => id);
    return settled;
  }

  // What follows from elsewhere.

  /**
   * Takes out the writes that are not on their way and concern something, for the inbox.
   * @param {(mutation: Mutation) => boolean} concerns
   * @param {string} code
   * @param {string} message
   * @param {number} at_ms
   * @returns {InboxEntry[]}
   */
  setAside(concerns, code, message, at_ms) {
    const found = [...this.pending.values()].filter(
      ({ stage, mutation }) => (stage === "local" || stage === "queued") && concerns(mutation),
    );
    return found.map(({ mutation }) => {
      this.remove(mutation.mutation_id);
      return { id: mutation.mutation_id, mutation, code, message, at_ms, depends_on: [] };
    });
  }

  /**
   * Moves the stamps of all that has no answer to a new notion of time; gives those that were moved. None falls back behind what
   * its author had seen, or behind the one before it.
   * @param {number} offset_ms
   * @returns {Pending[]}
   */
  shiftClocks(offset_ms) {
    const moved = [];
    /** @type {Map<string, string>} */ const last = new Map();
    for (const pending of this.pending.values()) {
      const { mutation } = pending;
      if (pending.stage === "answered") continue;
      const client = clientOf(mutation.clock);
      if (mutation.offset_ms !== offset_ms) {
        let clock = shift(mutation.clock, offset_ms - mutation.offset_ms);
        for (const before of [mutation.floor, last.get(client)]) if (before) clock = after(before, clock);
        pending.mutation = pending.written = { ...mutation, clock, offset_ms };
        moved.push(pending);
      }
      last.set(client, pending.mutation.clock);
    }
    return moved;
  }

  // Parts.

  /** @param {Mutation} mutation @param {Map<string, string>} inserts */
  #named({ fields, mutation_id }, inserts) {
    return Object.entries(fields).flatMap(([name, value]) => {
      const found = name !== "id" && typeof value === "string" && inserts.get(value);
      return found && found !== mutation_id ? [found] : [];
    });
  }

  /** @param {Pending} pending @param {Result} result @param {{ epoch: string, offset: number }} at */
  *#answered(pending, result, { epoch, offset }) {
    const { mutation } = pending;
    pending.stage = "answered";
    pending.answer = { version: result.version, epoch, offset };
    pending.written = withoutLost(mutation, result);
    this.#close(mutation);
    yield pending;
    let last = result.clock;
    for (const each of this.#later(pending)) {
      if (each.was_sent) continue;
      const seeing = seen(each.mutation, pending, result);
      // Above the effective clock of the write before it, which the server may have moved.
      const clock = last ? after(last, seeing.clock) : seeing.clock;
      if (last) last = clock;
      if (clock === seeing.clock && seeing === each.mutation) continue;
      each.mutation = each.written = { ...seeing, clock };
      yield each;
    }
  }

  /** @param {Pending} pending @param {Result} result @param {number} at_ms @returns {InboxEntry[]} */
  #refuse({ mutation, sequence, ...rest }, { code = "rejected", message = "", record }, at_ms) {
    const id = mutation.mutation_id;
    const depends_on = this.#named(mutation, this.#refusedInserts);
    const dependants = mutation.operation === "insert" ? this.#later({ mutation, sequence, ...rest }) : [];
    this.noteRefused(mutation);
    this.remove(id);
    return [
      { id, mutation, code, message, at_ms, depends_on, record },
      ...dependants.map(({ mutation }) => {
        this.remove(mutation.mutation_id);
        const message = "the record that it changes was refused";
        return { id: mutation.mutation_id, mutation, code: DEPENDENCY_CODE, message, at_ms, depends_on: [id] };
      }),
    ];
  }

  /** @param {Pending} pending */
  #later({ mutation, sequence }) {
    const ofRecord = this.ofRecord(keyOfRecord(mutation));
    return ofRecord.filter(
      (each) => each.sequence >= sequence && each.mutation.mutation_id !== mutation.mutation_id && each.stage !== "answered",
    );
  }

  /** @param {Mutation} mutation */
  #close({ id, mutation_id }) {
    if (this.#inserts.get(id) === mutation_id) this.#inserts.delete(id);
  }
}

/** Whether an answered write has made a version of the record. @param {Pending} pending */
const hasWritten = ({ written }) => written.operation !== "update" || Object.keys(written.fields).length > 0;

/**
 * Gives a write that was made on top of another the version that its author has thereby seen. Only if the other made exactly the
 * next version after what the author had seen: otherwise somebody else's write lies between, and the server has to know that.
 * @param {Mutation} mutation
 * @param {Pending} before
 * @param {Result} result
 * @returns {Mutation}
 */
function seen(mutation, before, { version }) {
  const first = before.mutation;
  const base = mutation.base_version;
  // Two that merge may have shared a request before a crash: what was sent once keeps its content (I6).
  if (version == null || !hasWritten(before) || mergeAlike(first, mutation)) return mutation;
  const isNext = base == null ? first.operation === "insert" : base + 1 === version;
  return isNext ? { ...mutation, base_version: version } : mutation;
}

/** What a mutation lost, for its author to see. @param {Mutation} mutation @param {Result} result @returns {Loss[]} */
const lossesOf = ({ mutation_id, collection, id }, { lost = [] }) =>
  lost.map((each) => ({ ...each, id: `${mutation_id}:${each.field}`, kind: "lost", collection, record_id: id }));

/** What a merged mutation has in fact written. One that lost altogether is an update of nothing. @param {Mutation} mutation @param {Result} result @returns {Mutation} */
function withoutLost(mutation, { lost = [] }) {
  const names = lost.map(({ field }) => field);
  if (!names.length) return mutation;
  const fields = Object.fromEntries(Object.entries(mutation.fields).filter(([name]) => !names.includes(name)));
  const isBeaten = names.includes("*") || (mutation.operation === "insert" && !Object.keys(fields).length);
  return { ...mutation, operation: isBeaten ? "update" : mutation.operation, fields };
}

/** Reads a result: a `duplicate` is as its first answer. @param {any} data @returns {Result} */
export function readResult(data) {
  if (data.status !== "duplicate") return data;
  const { mutation_id, record, version, clock } = data;
  return { status: "applied", version, clock, ...data.first, mutation_id, record, is_repeat: true };
}

/** Gives a mutation as `POST /api/sync` takes it. @param {Mutation} mutation */
export const mutationBody = ({ made_at_ms, offset_ms, floor, ...body }) => body;
