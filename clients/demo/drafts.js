/** What is typed and not written yet, kept on this device until it is written. */

import { uuidv7 } from "uuidv7";
import { whenSafe } from "./line.js";

const NEW = "new"; // so begins what names a form for a new record, where other drafts have the record's id

/** Forgets the draft `{at_ms, …}` of a field once what was written of it is safe, but no other: typed since, or in another tab. */
export async function forgetOnceSafe(drafts, collection, id, field, draft, write) {
  await whenSafe(write);
  const kept = await drafts.get(collection, id).catch(() => ({}));
  if (kept[field]?.at_ms === draft?.at_ms) void drafts.delete(collection, id, field).catch(() => {});
}

/** What is typed into one form for a new record: its own, however many tabs and panes have such a form open. */
export class FormDraft {
  /** `{id, fields}`: what a page that is gone has left, or nothing yet. */
  opened;

  #drafts;
  #collection;
  #letGo = () => {};

  constructor(drafts, collection) {
    this.#drafts = drafts;
    this.#collection = collection;
    this.opened = this.#open();
  }

  async keep(field, text) {
    const { id } = await this.opened;
    await this.#drafts.save(this.#collection, id, field, text).catch(() => {});
  }

  /** It is written. */
  async forget() {
    const { id } = await this.opened;
    await this.#drafts.delete(this.#collection, id).catch(() => {});
    this.#letGo();
  }

  /** The form is closed for good: who opens the next one is offered what is kept. */
  async leave() {
    await this.opened;
    this.#letGo();
  }

  async #open() {
    const all = await this.#drafts.list().catch(() => []);
    for (const { collection, id, fields } of all) {
      if (collection === this.#collection && id.startsWith(NEW) && (await this.#claim(id))) return { id, fields };
    }
    const id = `${NEW} ${uuidv7()}`;
    await this.#claim(id);
    return { id, fields: {} };
  }

  /** Whether no other form has it. A lock ends with its page; without a secure context there are none. */
  #claim(id) {
    return new Promise((tell) => {
      if (!navigator.locks) return tell(true);
      void navigator.locks.request(`draft ${id}`, { ifAvailable: true }, (lock) => {
        tell(lock !== null);
        return lock && new Promise((letGo) => (this.#letGo = letGo));
      });
    });
  }
}
