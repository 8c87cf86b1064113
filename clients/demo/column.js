/** One stage on the board: its name, how many records are in it and what they come to, and their cards. */

import { Card } from "./card.js";
import { WindowedList } from "./list.js";
import { capitalised } from "./words.js";

const template = document.getElementById("column");

export class Column {
  element = template.content.firstElementChild.cloneNode(true);
  list;
  isStale = true; // other cards belong here than are shown

  #$ = (selector) => this.element.querySelector(selector);
  #fresh = new Set();
  #title = this.#$(".stage");
  #count = this.#$(".count");
  #sum = this.#$(".sum");
  #slot = this.#$(".slot");
  #freshButton = this.#$(".fresh");
  #none = this.#$(".none");

  /** `onToggle()`: this column alone is wanted, or all; `onFresh()`: what is new is to be shown; `onMove` is as in card.js. */
  constructor(pane, state, { onToggle, onFresh, onMove }) {
    this.state = state;
    const cards = this.#$(".cards");
    cards.setAttribute("aria-label", capitalised(state));
    this.element.dataset.state = state;
    this.#$(".disc").dataset.step = pane.collection.states.indexOf(state);
    this.#title.textContent = capitalised(state);
    this.#title.addEventListener("click", onToggle);
    this.#freshButton.addEventListener("click", onFresh);
    const makeRow = (id) => new Card(pane, id, state, { onMove });
    this.list = new WindowedList(cards, { makeRow, onScroll: () => pane.draw() });
    for (const type of ["pointerleave", "focusout"]) cards.addEventListener(type, () => pane.draw());
  }

  /** Another's record has come, and is shown when nobody points at the column. */
  expect(id) {
    this.#fresh.add(id);
  }

  /** Takes the ids of its records as they are now. */
  relist(ids) {
    this.isStale = false;
    this.#fresh.clear();
    this.list.relist(ids);
  }

  scrollToTop() {
    this.list.scrollTo(null);
  }

  /** One's own move is seen at once, whoever points at what. `indexOf` gives the places of all records. */
  insert(id, indexOf) {
    if (this.list.has(id)) return;
    const ids = [...this.list.ids];
    ids.splice(this.placeOf(id, indexOf), 0, id);
    this.list.relist(ids);
  }

  remove(id) {
    this.#fresh.delete(id);
    if (this.list.has(id)) this.list.relist(this.list.ids.filter((each) => each !== id));
  }

  /** Where a record would be among those that are shown. */
  placeOf(id, indexOf) {
    const { ids } = this.list;
    const own = indexOf(id);
    let [low, high] = [0, ids.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (indexOf(ids[middle]) < own) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** A free place, as near as it can be seen to where the record would come; without an id none. */
  offer(id, indexOf) {
    const place = id === null ? null : this.list.nearest(this.placeOf(id, indexOf));
    this.list.gap = place;
    this.#slot.hidden = place === null;
    if (place !== null) this.#slot.style.transform = `translateY(calc(${place} * var(--row)))`;
    this.element.classList.toggle("target", place !== null);
  }

  /** `total` is of totals.js; `chosen` is the state that is shown alone, or empty. */
  draw({ count, sum, sums }, chosen, isLoaded) {
    this.list.draw();
    const words = count.toLocaleString("en");
    if (this.#count.textContent !== words) this.#count.textContent = words;
    if (this.#sum.title !== sums) Object.assign(this.#sum, { textContent: sum, title: sums });
    this.#title.ariaPressed = String(chosen === this.state);
    this.element.classList.toggle("aside", chosen !== "" && chosen !== this.state);
    const fresh = `${this.#fresh.size} new`;
    this.#freshButton.hidden = this.#fresh.size === 0;
    if (this.#freshButton.textContent !== fresh) this.#freshButton.textContent = fresh;
    this.#none.hidden = !isLoaded || this.list.ids.length > 0;
  }
}
