/** How the records are spread over their states: one thin bar, and the numbers, each a filter. */

import { capitalised } from "./words.js";

export class Spread {
  #stack;
  #legend;
  #parts = [];
  #collection = null;
  #onToggle;

  /** `onToggle(state)`: this state alone is wanted, or all again. */
  constructor(element, onToggle) {
    this.#stack = element.querySelector(".stack");
    this.#legend = element.querySelector(".legend");
    this.#onToggle = onToggle;
  }

  /** `records` are counted; `chosen` is the state that is shown alone, or empty. */
  show(records, collection, chosen) {
    if (collection !== this.#collection) this.#make(collection);
    const counts = Object.fromEntries(collection.states.map((state) => [state, 0]));
    for (const record of records) counts[record[collection.stateField]] += 1;
    this.#stack.classList.toggle("none", records.length === 0);
    for (const { state, bar, button, number } of this.#parts) {
      button.ariaPressed = String(state === chosen);
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
      const button = document.createElement("button");
      const number = document.createElement("b");
      button.type = "button";
      button.append(number, ` ${capitalised(state)}`);
      button.addEventListener("click", () => this.#onToggle(state));
      bar.dataset.step = step;
      return { state, bar, button, number };
    });
    this.#stack.replaceChildren(...this.#parts.map(({ bar }) => bar));
    this.#legend.replaceChildren(...this.#parts.map(({ button }) => button));
  }
}
