/**
 * PURE. What one live collection shows: the mirror of a topic, its author's pending writes on top, in an order.
 *
 * Every way in returns the effects on what is visible, so that a screen changes exactly what changed.
 */

import { compareKeys, keyOf } from "./ordering.js";
import { keyOfRecord } from "./queue.js";
import { visibleRecord } from "./rebase.js";
import { admits } from "./topic.js";

/** @import { Change, Effect, Fields, Pending, Record_, TopicSpec } from "./types.js" */
/** @import { Mirror } from "./mirror.js" */
/** @import { Queue } from "./queue.js" */
/** @import { SortField } from "./ordering.js" */

const SYSTEM_FIELDS = ["version", "updated_at", "updated_by"];

/** Whether the mirror has the effect of a write, so that it need not be shown on top. @param {Mirror} mirror @param {Pending} pending */
export function holds({ position, records, confirmed }, { mutation, answer }) {
  if (confirmed.has(mutation.mutation_id)) return true;
  if (!answer || !position) return false;
  if (answer.epoch !== position.epoch || answer.offset <= position.offset) return true;
  const held = records.get(mutation.id);
  return !!held && answer.version != null && held.version >= answer.version;
}

/** The names of the fields that differ, the system's own aside. @param {Fields} a @param {Fields} b */
const differing = (a, b) =>
  [...new Set([...Object.keys(a), ...Object.keys(b)])].filter((name) => a[name] !== b[name] && !SYSTEM_FIELDS.includes(name));

export class View {
  /** @type {Map<string, Record_>} */ visible = new Map();
  /** Ids in order. @type {string[]} */ ids = [];
  /** @type {Map<string, any[]>} */ #keys = new Map();

  /**
   * `defaults()` are the fields that a new record gets.
   * @param {TopicSpec} spec
   * @param {Mirror} mirror
   * @param {Queue} queue
   * @param {SortField[]} sort
   * @param {() => Fields} defaults
   */
  constructor(spec, mirror, queue, sort, defaults) {
    this.spec = spec;
    this.mirror = mirror;
    this.queue = queue;
    this.sort = sort;
    this.defaults = defaults;
  }

  /** Looks at everything again. @returns {Effect[]} */
  refreshAll() {
    return this.refresh([...this.visible.keys(), ...this.mirror.records.keys(), ...this.queue.idsOf(this.spec.collection)]);
  }

  /**
   * Looks again at some records.
   * @param {Iterable<string>} ids
   * @param {Map<string, Change>} [changes] what the server did to them
   * @returns {Effect[]}
   */
  refresh(ids, changes) {
    /** @type {Effect[]} */ const effects = [];
    for (const id of new Set(ids)) {
      const before = this.visible.get(id);
      const after = this.#visible(id);
      if (before === after) continue;
      const fields = differing(before ?? {}, after ?? {});
      const kind = !before ? "added" : after ? "changed" : "removed";
      if (kind === "changed" && !fields.length && before?.version === after?.version) {
        this.visible.set(id, /** @type {Record_} */ (after));
        continue;
      }
      effects.push({ kind, id, before, after, index: null, previous_index: null, fields, change: changes?.get(id) });
    }
    if (effects.length > Math.max(64, this.ids.length / 4)) this.#reorder(effects);
    else for (const effect of effects) this.#move(effect);
    return effects;
  }

  /** A visible record's place, null if it has none. @param {string} id */
  indexOf(id) {
    const key = this.#keys.get(id);
    return key ? this.#place(key) : null;
  }

  /** @param {string} id @returns {Record_ | undefined} */
  #visible(id) {
    const server = this.mirror.records.get(id);
    const { collection, conditions, record_id } = this.spec;
    const onTop = this.queue.ofRecord(keyOfRecord({ collection, id })).filter((pending) => !holds(this.mirror, pending));
    if (!onTop.length || (record_id && record_id !== id)) return server;
    const record = visibleRecord(server, onTop.map(({ written }) => written), this.defaults());
    return record && admits(conditions, record) ? record : undefined;
  }

  /** Where a key is, or belongs. @param {any[]} key */
  #place(key) {
    let low = 0;
    let high = this.ids.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const other = /** @type {any[]} */ (this.#keys.get(/** @type {string} */ (this.ids[middle])));
      if (compareKeys(this.sort, other, key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** @param {Effect} effect */
  #move(effect) {
    const { id, before, after } = effect;
    if (before) {
      effect.previous_index = this.#place(/** @type {any[]} */ (this.#keys.get(id)));
      this.ids.splice(effect.previous_index, 1);
    }
    this.#set(id, after);
    if (!after) return;
    effect.index = this.#place(/** @type {any[]} */ (this.#keys.get(id)));
    this.ids.splice(effect.index, 0, id);
  }

  /** Applies many effects by sorting once; places are those before and after all of them. @param {Effect[]} effects */
  #reorder(effects) {
    /** @param {string[]} ids */
    const places = (ids) => new Map(ids.map((id, index) => [id, index]));
    const before = places(this.ids);
    for (const { id, after } of effects) this.#set(id, after);
    const entries = [...this.#keys].sort(([, a], [, b]) => compareKeys(this.sort, a, b));
    this.ids = entries.map(([id]) => id);
    const after = places(this.ids);
    for (const effect of effects) {
      effect.previous_index = before.get(effect.id) ?? null;
      effect.index = after.get(effect.id) ?? null;
    }
  }

  /** @param {string} id @param {Record_ | undefined} record */
  #set(id, record) {
    if (record) {
      this.visible.set(id, record);
      this.#keys.set(id, keyOf(this.sort, record));
    } else {
      this.visible.delete(id);
      this.#keys.delete(id);
    }
  }
}
