/** The heads of the list's columns. One that the records can be ordered by is a button, and says how they are. */

import { fieldWords } from "./collections.js";
import { capitalised } from "./words.js";

export class Heads {
  #element;
  #onSort;
  #collection = null;
  #sort = "";
  #sortable = []; // {head, sorts}

  /** `onSort(sort)`: another order is wanted. */
  constructor(element, onSort) {
    this.#element = element;
    this.#onSort = onSort;
  }

  /** `sort` is the order that is shown. */
  show(collection, sort) {
    if (collection === this.#collection && sort === this.#sort) return;
    if (collection !== this.#collection) this.#make(collection);
    this.#sort = sort;
    const way = sort.startsWith("-") ? "descending" : "ascending";
    for (const { head, sorts } of this.#sortable) head.ariaSort = sorts.includes(sort) ? way : "none";
  }

  #make(collection) {
    const { sorts, amountField, stateField } = collection;
    this.#collection = collection;
    this.#sortable = [];
    ["name", amountField, stateField].forEach((field, place) => {
      const head = this.#element.children[place];
      const own = Object.keys(sorts).filter((sort) => sort.replace(/^-|:numeric$/g, "") === field);
      head.ariaSort = null;
      head.textContent = capitalised(fieldWords(field));
      if (own.length === 0) return;
      this.#sortable.push({ head, sorts: own });
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: head.textContent });
      button.addEventListener("click", () => this.#onSort(own[this.#sort === own[0] ? 1 : 0]));
      head.replaceChildren(button);
    });
  }
}
