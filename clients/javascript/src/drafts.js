/** What a person has typed and not yet written, by record and field: kept at each keystroke, here on this device only. */

import { beginning } from "./database.js";

/** @import { Database } from "./database.js" */

export class Drafts {
  #open;
  /** The values that are still to be kept: of several for one field the last counts. @type {Map<string, () => Promise<void>>} */ #waiting = new Map();
  /** @type {Promise<void>} */ #saving = Promise.resolve();

  /** @param {() => Promise<Database | null>} open */
  constructor(open) {
    this.#open = open;
  }

  /**
   * Keeps a value; done when it is kept. `id` of a record that is not there yet is whatever names its form.
   * @param {string} collection
   * @param {string} id
   * @param {string} field
   * @param {unknown} value
   */
  save(collection, id, field, value) {
    const key = [collection, id, field];
    this.#waiting.set(key.join("\0"), async () => (await this.#open())?.set("drafts", key, collection, value ?? null));
    this.#saving = this.#saving.then(async () => {
      const works = [...this.#waiting.values()];
      this.#waiting.clear();
      for (const work of works) await work();
    });
    const saving = this.#saving;
    this.#saving = saving.catch(() => {});
    return saving;
  }

  /** The drafts of a record, by field. @param {string} collection @param {string} id @returns {Promise<Record<string, any>>} */
  async get(collection, id) {
    await this.#saving;
    const found = (await (await this.#open())?.entries("drafts", beginning(collection, id))) ?? [];
    return Object.fromEntries(found.map(([key, value]) => [key[2], value]));
  }

  /** All records with drafts. @returns {Promise<{ collection: string, id: string, fields: Record<string, any> }[]>} */
  async list() {
    await this.#saving;
    const found = (await (await this.#open())?.entries("drafts", beginning())) ?? [];
    /** @type {Map<string, { collection: string, id: string, fields: Record<string, any> }>} */ const all = new Map();
    for (const [[collection, id, field], value] of found) {
      /** @type {{ collection: string, id: string, fields: Record<string, any> }} */
      const entry = all.get(`${collection}/${id}`) ?? { collection, id, fields: {} };
      entry.fields[field] = value;
      all.set(`${collection}/${id}`, entry);
    }
    return [...all.values()];
  }

  /** Deletes a record's drafts, or the one of a field: it was written, or is not wanted. @param {string} collection @param {string} id @param {string} [field] */
  async delete(collection, id, field) {
    await this.#saving;
    const range = field === undefined ? beginning(collection, id) : [collection, id, field];
    await (await this.#open())?.set("drafts", range);
  }
}
