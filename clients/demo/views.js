/** What the rows and cards of a pane show: the same object as long as nothing about its record has changed. */

import { ageOf } from "./words.js";

export class Views {
  #pane;
  #views = new Map(); // by id
  #gone = new Map(); // id → record: deleted, but still in its place because somebody points at the list

  /** `pane` gives the feed, the rights and the words; see pane.js. */
  constructor(pane) {
    this.#pane = pane;
  }

  take({ kind, id, record }) {
    this.#views.delete(id);
    if (kind === "removed") this.#gone.set(id, record);
    else this.#gone.delete(id);
  }

  /** The record is looked at anew; without an id all are. */
  touch(id) {
    if (id === undefined) this.#views.clear();
    else this.#views.delete(id);
  }

  /** Nothing that is gone keeps its place. */
  clear() {
    this.#views.clear();
    this.#gone.clear();
  }

  of(id) {
    if (!this.#views.has(id)) this.#views.set(id, this.#make(id));
    return this.#views.get(id);
  }

  #make(id) {
    const pane = this.#pane;
    const record = pane.feed.live.get(id) ?? this.#gone.get(id);
    const recent = pane.feed.recent.get(id);
    const word = pane.wordOf(id);
    const isGone = this.#gone.has(id);
    return {
      record,
      collection: pane.collection,
      branch: pane.page.branches.get(record.branch_id)?.name ?? "All branches",
      by: word || (recent?.by ?? ageOf(record.created_at, pane.client.now())),
      byBranch: (!word && recent?.byBranch) || "",
      needsReview: word === "Needs review",
      writable: pane.mayWrite(record) && !isGone,
      gone: isGone,
      saving: word !== "",
    };
  }
}
