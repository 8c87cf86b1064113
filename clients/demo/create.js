/** The small form for a new record. What is typed into it is kept on this device until the record is added. */

import { fieldWords } from "./collections.js";
import { makeInput, readOf } from "./inputs.js";
import { capitalised } from "./words.js";

export class CreateForm {
  #form;
  #button;
  #owner;
  #collection = null;
  #inputs = new Map(); // field → its input
  #isFresh = true; // what was typed at another time is not in it yet

  /** `button` opens and closes the form; `owner` is `{add(fields), typed(name, text), drafts()}`: it adds the record, and keeps what is typed. */
  constructor(form, button, owner) {
    this.#form = form;
    this.#button = button;
    this.#owner = owner;
    button.addEventListener("click", () => this.#toggle(form.hidden));
    form.addEventListener("keydown", ({ key }) => key === "Escape" && this.#toggle(false));
    form.addEventListener("input", ({ target }) => owner.typed(target.name, target.value));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
  }

  /** The branches for which this person may add records; none: they may not. */
  offer(branches) {
    const { branch_id } = this.#form.elements;
    branch_id.replaceChildren(...branches.map((branch) => new Option(branch.name, branch.id)));
    this.#form.querySelector(".branch").hidden = branches.length < 2;
    this.#button.disabled = branches.length === 0;
  }

  /** It is for this collection from now on. */
  show(collection) {
    if (collection === this.#collection) return;
    this.#toggle(false);
    this.#collection = collection;
    this.#button.textContent = `New ${collection.one}`;
    this.#button.ariaLabel = this.#button.textContent; // there may be no room for more than a plus
    const fields = collection.fields.filter(({ isNew }) => isNew);
    this.#inputs = new Map(fields.map((field) => [field, makeInput(field)]));
    const labels = fields.map((field) => {
      const label = document.createElement("label");
      label.append(`${capitalised(fieldWords(field.name))} `, this.#inputs.get(field));
      return label;
    });
    this.#isFresh = true;
    this.#form.replaceChildren(...labels, this.#form.querySelector(".branch"), this.#form.querySelector("[type=submit]"));
  }

  /** Somebody else is here now. */
  clear() {
    this.#toggle(false);
    this.#empty();
    this.#isFresh = true;
  }

  #toggle(open) {
    if (this.#form.hidden !== open) return;
    this.#form.hidden = !open;
    this.#button.ariaExpanded = open;
    (open ? this.#form.elements.name : this.#button).focus();
    if (open && this.#isFresh) void this.#fill();
  }

  async #fill() {
    this.#isFresh = false;
    const drafts = await this.#owner.drafts();
    for (const [{ name }, input] of this.#inputs) if (name in drafts) input.value = drafts[name];
  }

  #empty() {
    for (const [field, input] of this.#inputs) input.value = field.choices?.[0] ?? "";
  }

  #submit() {
    const fields = [...this.#inputs].map(([field, input]) => [field.name, readOf(field, input.value)]);
    const record = { ...Object.fromEntries(fields), branch_id: this.#form.elements.branch_id.value };
    if (!record.name) return;
    this.#owner.add(record);
    this.#empty();
    this.#toggle(false);
  }
}
