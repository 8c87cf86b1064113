/** How the records are spread over their states: one thin bar, and the numbers. */

import { capitalised } from "./words.js";

export class Spread {
  #stack;
  #legend;
  #parts = [];
  #collection = null;

  constructor(element) {
    this.#stack = element.querySelector(".stack");
    this.#legend = element.querySelector("ul");
  }

  show(records, collection) {
    if (collection !== this.#collection) this.#make(collection);
    const counts = Object.fromEntries(collection.states.map((state) => [state, 0]));
    for (const record of records) counts[record[collection.stateField]] += 1;
    for (const { state, bar, number } of this.#parts) {
      const text = counts[state].toLocaleString("en");
      if (number.textContent === text) continue;
      number.textContent = text;
      bar.style.flexGrow = counts[state];
    }
  }

  #make(collection) {
    this.#collection = collection;
    this.#parts = collection.states.map((state, step) => {
      const bar = document.createElement("i");
      const item = document.createElement("li");
      const number = document.createElement("b");
      item.append(number, ` ${capitalised(state)}`);
      bar.dataset.step = item.dataset.step = step;
      return { state, bar, item, number };
    });
    this.#stack.replaceChildren(...this.#parts.map(({ bar }) => bar));
    this.#legend.replaceChildren(...this.#parts.map(({ item }) => item));
  }
}
