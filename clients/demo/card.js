/** One record on the board: its name, its amount and its place; what it says opens it, and a small list moves it. */

import { formatMoney } from "./collections.js";
import { flash } from "./flash.js";
import { capitalised } from "./words.js";

const template = document.getElementById("card");

export class Card {
  element = template.content.firstElementChild.cloneNode(true);
  controls;

  #pane;
  #id;
  #state;
  #shown = null;
  #$ = (selector) => this.element.querySelector(selector);
  #headline = this.#$(".headline");
  #amount = this.#$(".amount");
  #about = this.#$(".about");
  #by = this.#$(".by");
  #select = this.#$("select");

  /** `state` is the column's; `onMove(id, state)` is told when another is chosen; the rest is as in row.js. */
  constructor(pane, id, state, { onMove }) {
    this.#pane = pane;
    this.#id = id;
    this.#state = state;
    this.controls = [this.#headline];
    for (const each of pane.collection.states) this.#select.add(new Option(capitalised(each), each));
    this.#select.addEventListener("change", () => {
      onMove(id, this.#select.value);
      this.#select.value = pane.views.of(id).record[pane.collection.stateField];
    });
    for (const type of ["mousedown", "keydown"]) this.#select.addEventListener(type, (event) => this.#refuse(event));
    this.#headline.addEventListener("click", () => pane.openRecord(pane.collection.name, id));
    this.element.addEventListener("focusin", () => this.#focused(true));
    this.element.addEventListener("focusout", ({ relatedTarget }) => this.#focused(this.element.contains(relatedTarget)));
    this.element.addEventListener("pointerdown", () => pane.aim(id));
  }

  /** Brings the element up to date; cheap if nothing has changed. */
  show() {
    const view = this.#pane.views.of(this.#id);
    if (view === this.#shown) return;
    this.#shown = view;
    const { record, collection, writable } = view;
    const state = record[collection.stateField];
    const isElsewhere = state !== this.#state;
    const amount = formatMoney(record[collection.amountField], record.currency);
    this.#headline.textContent = this.#headline.title = record.name;
    this.#headline.setAttribute("aria-label", [record.name, amount, view.branch, view.by].filter(Boolean).join(", "));
    this.#amount.textContent = amount;
    this.#about.textContent = isElsewhere ? `Now ${state}` : view.branch;
    this.#by.textContent = view.by;
    this.#by.dataset.branch = view.byBranch;
    this.#select.value = state;
    this.#select.setAttribute("aria-label", `${capitalised(collection.stateField)} of ${record.name}`);
    this.#select.setAttribute("aria-disabled", !writable);
    this.element.classList.toggle("fixed", !writable);
    this.element.classList.toggle("elsewhere", isElsewhere || view.gone);
    this.element.classList.toggle("gone", view.gone);
    this.element.classList.toggle("needs-review", view.needsReview);
  }

  /** Lights up in the colour of the branch that changed it. */
  flash(branch) {
    flash(this.element, branch);
  }

  /** The small list is a stop of the Tab key on the card where the focus is. */
  #focused(isHere) {
    this.#select.tabIndex = isHere ? 0 : -1;
    if (isHere) this.#pane.aim(this.#id);
  }

  #refuse(event) {
    if (this.#pane.views.of(this.#id).writable || event.key === "Tab") return;
    event.preventDefault();
    this.#pane.explainRefusal(this.#id);
  }
}
