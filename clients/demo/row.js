/** One record in the list: its name, which can be edited in place, its amount and its state. */

import { formatMoney } from "./collections.js";
import { forgetOnceSafe } from "./drafts.js";
import { flash } from "./flash.js";
import { capitalised } from "./words.js";

const template = document.getElementById("row");

export class Row {
  element = template.content.firstElementChild.cloneNode(true);
  controls;

  #pane;
  #id;
  #name = this.element.querySelector(".name");
  #about = this.element.querySelector(".about");
  #by = this.element.querySelector(".by");
  #amount = this.element.querySelector(".amount");
  #state = this.element.querySelector(".state");
  #select = this.element.querySelector("select");
  #open = this.element.querySelector(".open");
  #editor = null;
  #shown = null;

  /** `pane` gives the record and takes the writes; see pane.js. */
  constructor(pane, id) {
    this.#pane = pane;
    this.#id = id;
    this.controls = [this.#name, this.#select, this.#open];
    for (const state of pane.collection.states) this.#select.add(new Option(capitalised(state), state));
    this.#name.addEventListener("click", () => this.#edit());
    this.#name.addEventListener("keydown", (event) => event.key === "F2" && this.#edit());
    this.#select.addEventListener("change", () => {
      if (this.#refuse()) return void (this.#select.value = this.#shown.record[pane.collection.stateField]); // deleted while it was open
      pane.writes.update(id, { [pane.collection.stateField]: this.#select.value });
    });
    this.#select.addEventListener("mousedown", (event) => this.#refuse(event));
    this.#select.addEventListener("keydown", (event) => {
      if (event.key !== "Tab" && !event.key.startsWith("Arrow")) this.#refuse(event);
    });
    this.#open.addEventListener("click", () => pane.openRecord(pane.collection.name, id));
    this.element.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      pane.openRecord(pane.collection.name, id);
    });
    this.element.addEventListener("focusin", () => pane.aim(id));
    this.element.addEventListener("pointerdown", () => pane.aim(id));
  }

  /** Brings the element up to date; cheap if nothing has changed. */
  show() {
    const view = this.#pane.views.of(this.#id);
    if (view === this.#shown) return;
    this.#shown = view;
    const { record, collection, writable } = view;
    this.#name.textContent = this.#name.title = record.name;
    this.#name.setAttribute("aria-label", `${record.name}${writable ? ", edit" : ""}`);
    this.#name.setAttribute("aria-disabled", !writable);
    this.#open.setAttribute("aria-label", `Open ${record.name}`);
    // Apart, so that one that is written from right to left turns nothing else around.
    const parts = [collection.about(record), view.branch].filter(Boolean).map((textContent) => Object.assign(document.createElement("bdi"), { textContent }));
    this.#about.replaceChildren(...parts.flatMap((part, i) => (i > 0 ? [" · ", part] : [part])));
    this.#by.textContent = view.by;
    this.#by.dataset.branch = view.byBranch;
    this.#amount.textContent = formatMoney(record[collection.amountField], record.currency);
    const state = record[collection.stateField] ?? collection.states[0];
    this.#state.dataset.step = collection.states.indexOf(state);
    this.#select.value = state;
    this.#select.setAttribute("aria-label", `${capitalised(collection.stateField)} of ${record.name}`);
    this.#select.setAttribute("aria-disabled", !writable);
    this.element.classList.toggle("gone", view.gone);
    this.element.classList.toggle("saving", view.saving);
    this.element.classList.toggle("needs-review", view.needsReview);
  }

  /** Lights up the changed fields, or all of a new record, in the colour of the branch that changed them. */
  flash(fields, branch) {
    const { stateField, amountField } = this.#pane.collection;
    const places = { name: this.#name, [stateField]: this.#state, [amountField]: this.#amount };
    const elements = fields.map((field) => places[field] ?? this.#about);
    for (const element of new Set(elements.length > 0 ? elements : [this.element])) flash(element, branch);
  }

  /** True if the event was stopped because this person may not write here. */
  #refuse(event) {
    if (this.#pane.views.of(this.#id).writable) return false;
    event?.preventDefault();
    this.#pane.explainRefusal(this.#id);
    return true;
  }

  #edit() {
    if (this.#editor || this.#refuse()) return;
    const input = (this.#editor = document.createElement("input"));
    const { collection, client } = this.#pane;
    const { name: from, version } = this.#pane.views.of(this.#id).record;
    const edit = { input, collection, drafts: client.offline.drafts, version, draft: null };
    input.className = "name";
    input.maxLength = 200;
    input.value = from;
    input.addEventListener("input", () => {
      edit.draft = { text: input.value, from, at_ms: client.now() }; // the record's page offers it again
      void edit.drafts.save(collection.name, this.#id, "name", edit.draft).catch(() => {});
    });
    input.setAttribute("aria-label", "Name");
    input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== "Escape") return;
      event.preventDefault(); // the key would press the button that comes back
      this.#close(edit, event.key === "Enter");
    });
    input.addEventListener("blur", () => this.#close(edit, true));
    this.#name.replaceWith(input);
    input.focus();
    input.select();
  }

  #close({ input, collection, drafts, version, draft }, keep) {
    if (this.#editor !== input) return; // the blur that comes with the removal
    this.#editor = null;
    const hadFocus = document.activeElement === input;
    input.replaceWith(this.#name);
    if (hadFocus) this.#name.focus({ preventScroll: true });
    const name = input.value.trim();
    if (!draft) return;
    const record = this.#pane.recordOf(collection, this.#id);
    if (keep && (!record || !this.#pane.mayWrite(record))) return; // somebody has deleted it: what was typed stays a draft
    if (!keep || !name || name === draft.from) return void drafts.delete(collection.name, this.#id, "name").catch(() => {});
    // Whoever wrote the name since the editor was opened is told: it was not to be seen here.
    const write = this.#pane.writes.update(this.#id, { name }, collection, version);
    forgetOnceSafe(drafts, collection.name, this.#id, "name", draft, write).catch(() => {});
  }
}
