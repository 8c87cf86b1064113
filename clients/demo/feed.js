/**
 * One collection as one person sees it: the server's records with this person's unconfirmed writes on top,
 * and what has lately happened to them.
 */

import { Records } from "./records.js";

const RECENT_MS = 6_000;

export class Feed {
  records = new Records();
  loaded = false;
  /** id → {fields, byBranch, by}: changes of the last seconds, by whom. */
  recent = new Map();

  #pending = new Map(); // id → {fields, version}: version is known once the server has answered
  #onChange;

  /** `onChange(effects, wasLive)` is told of what came; `effects` is null if everything is new. */
  constructor(onChange) {
    this.#onChange = onChange;
  }

  /** The record as this person should see it. */
  get(id) {
    const record = this.records.get(id);
    const pending = this.#pending.get(id);
    return record && pending ? { ...record, ...pending.fields } : record;
  }

  isPending(id) {
    return this.#pending.has(id);
  }

  replaced(records) {
    this.loaded = true;
    this.records.replace(records);
    this.#onChange(null, false);
  }

  changed(changes, wasLive) {
    const effects = [];
    for (const change of changes) {
      const effect = this.records.apply(change);
      if (!effect) continue;
      const expected = this.#pending.get(change.id)?.fields;
      const fields = Object.keys(change.operation === "update" ? change.fields : {}).filter(
        (field) => !field.startsWith("updated_") && effect.before?.[field] !== effect.record[field],
      );
      const mine = expected !== undefined && fields.every((field) => field in expected);
      this.#settle(change.id);
      effects.push({ ...effect, change, fields, mine });
    }
    if (effects.length > 0) this.#onChange(effects, wasLive);
  }

  /** Keeps who changed a record for a few seconds, then calls `done`. */
  remember(id, entry, done) {
    clearTimeout(this.recent.get(id)?.timer);
    const timer = setTimeout(() => {
      this.recent.delete(id);
      done(id);
    }, RECENT_MS);
    this.recent.set(id, { ...entry, timer });
  }

  /** Shows a write before the server has it. */
  expect(id, fields) {
    this.#pending.set(id, { fields: { ...this.#pending.get(id)?.fields, ...fields }, version: Infinity });
  }

  /** The server's answer: the delta that confirms it may be here already, or yet to come, or the line is down. */
  confirm(record, live) {
    const pending = this.#pending.get(record.id);
    if (pending) pending.version = record.version;
    if (!live) this.records.accept(record);
    this.#settle(record.id);
  }

  refuse(id) {
    this.#pending.delete(id);
  }

  #settle(id) {
    const pending = this.#pending.get(id);
    const record = this.records.get(id);
    if (pending && (!record || record.version >= pending.version)) this.#pending.delete(id);
  }
}
