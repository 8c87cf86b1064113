/** Which records of a collection are shown, and in what order: words to find, a branch, a state, a sort. */

import { fold, matches } from "./collections.js";

export class Filters {
  find = "";
  branch = "";
  status = "";
  sort = "";

  #search;
  #branches;
  #sorts;
  #collection = null;
  #slugs = null; // of the branches, once they are known
  #onChange;

  /** `onChange({isSort, isStep})`: other records, or another order, are wanted; `isStep` but for words that are typed. */
  constructor(element, onChange) {
    this.#onChange = onChange;
    this.#search = element.querySelector(".search");
    this.#branches = element.querySelector(".by-branch");
    this.#sorts = element.querySelector(".by-sort");
    this.#search.addEventListener("input", () => {
      this.find = this.#search.value;
      onChange({ isSort: false, isStep: false });
    });
    this.#branches.addEventListener("change", () => {
      this.branch = this.#branches.value;
      onChange({ isSort: false, isStep: true });
    });
    this.#sorts.addEventListener("change", () => this.order(this.#sorts.value));
  }

  /** Takes what an address says: `{find, branch, status, sort}`; `branch` is a slug, all of them may be missing. */
  restore(collection, { find = "", branch = "", status = "", sort = "" }) {
    if (collection !== this.#collection) {
      this.#collection = collection;
      this.#sorts.replaceChildren(...Object.entries(collection.sorts).map(([by, word]) => new Option(word, by)));
    }
    this.find = find;
    this.branch = this.#known(branch);
    this.status = collection.states.includes(status) ? status : "";
    this.sort = sort in collection.sorts ? sort : Object.keys(collection.sorts)[0];
    this.show();
  }

  /** The branches that there are. */
  offer(branches) {
    this.#slugs = branches.map(({ slug }) => slug);
    this.branch = this.#known(this.branch);
    const all = new Option("All branches", "");
    this.#branches.replaceChildren(all, ...branches.map(({ name, slug }) => new Option(name, slug)));
    this.show();
  }

  /** A branch that an address names and nobody has heard of is none. */
  #known(branch) {
    return this.#slugs?.includes(branch) === false ? "" : branch;
  }

  show() {
    this.#search.value = this.find;
    this.#branches.value = this.branch;
    this.#sorts.value = this.sort;
  }

  /** One state alone, or all again. */
  toggleStatus(status) {
    this.status = this.status === status ? "" : status;
    this.#onChange({ isSort: false, isStep: true });
  }

  /** Another order. */
  order(sort) {
    this.sort = this.#sorts.value = sort;
    this.#onChange({ isSort: true, isStep: true });
  }

  get isOn() {
    return Boolean(this.find || this.branch || this.status);
  }

  /** Whether a record is to be shown, but for its state: `branches` are the organisation's by id. */
  admitsButState(record, branches) {
    if (this.branch && branches.get(record.branch_id)?.slug !== this.branch) return false;
    return !this.find || matches(record, fold(this.find.trim()));
  }

  admits(record, branches) {
    const isState = !this.status || (record[this.#collection.stateField] ?? this.#collection.states[0]) === this.status;
    return isState && this.admitsButState(record, branches);
  }

  /** Whether the default order is shown. */
  get isFirstSort() {
    return this.sort === Object.keys(this.#collection.sorts)[0];
  }
}
