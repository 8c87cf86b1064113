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
  #draft = null; // a FormDraft, from the first time that it is opened until the record is added
  #branch = ""; // that was chosen, also while it cannot be offered

  /** `button` opens and closes the form; `owner` is `{add(fields), draft()}`: `add` is done when the record cannot get lost any more, `draft` is a FormDraft. */
  constructor(form, button, owner) {
    this.#form = form;
    this.#button = button;
    this.#owner = owner;
    button.addEventListener("click", () => this.#toggle(form.hidden));
    form.addEventListener("keydown", ({ key }) => key === "Escape" && this.#toggle(false));
    form.addEventListener("input", ({ target }) => {
      target.setCustomValidity("");
      const { branch_id } = form.elements;
      this.#branch = branch_id.value;
      for (const { name, value } of new Set([target, branch_id])) void this.#draft.keep(name, value);
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
  }

  /** The branches for which this person may add records; none: they may not. */
  offer(branches) {
    const { branch_id } = this.#form.elements;
    const { options } = branch_id;
    const isSame = options.length === branches.length && branches.every(({ id, name }, i) => options[i].value === id && options[i].text === name);
    if (!isSame) branch_id.replaceChildren(...branches.map((branch) => new Option(branch.name, branch.id)));
    this.#choose();
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
    this.#leaveDraft();
    this.#form.replaceChildren(...labels, this.#form.querySelector(".branch"), this.#form.querySelector("[type=submit]"));
  }

  /** Somebody else is here now. */
  clear() {
    this.#toggle(false);
    this.#empty();
    this.#leaveDraft();
    this.#branch = "";
  }

  #toggle(open) {
    if (this.#form.hidden !== open) return;
    this.#form.hidden = !open;
    this.#button.ariaExpanded = open;
    (open ? this.#form.elements.name : this.#button).focus();
    if (open && !this.#draft) void this.#fill();
  }

  async #fill() {
    const draft = (this.#draft = this.#owner.draft());
    const { fields } = await draft.opened;
    if (draft !== this.#draft) return;
    for (const [field, input] of this.#inputs) {
      if (field.name in fields && input.value === emptyOf(field)) input.value = fields[field.name];
    }
    this.#branch = fields.branch_id ?? this.#branch;
    this.#choose();
  }

  #choose() {
    const { branch_id } = this.#form.elements;
    if ([...branch_id.options].some(({ value }) => value === this.#branch)) branch_id.value = this.#branch;
  }

  #leaveDraft() {
    void this.#draft?.leave();
    this.#draft = null;
  }

  #empty() {
    for (const [field, input] of this.#inputs) {
      input.value = emptyOf(field);
      input.setCustomValidity("");
    }
  }

  #submit() {
    const fields = [...this.#inputs].map(([field, input]) => [field.name, readOf(field, input.value)]);
    const record = { ...Object.fromEntries(fields), branch_id: this.#form.elements.branch_id.value };
    if (!record.name) return complain(this.#form.elements.name, "A name has more than blanks.");
    const draft = this.#draft;
    this.#draft = null;
    this.#empty();
    this.#toggle(false);
    this.#owner.add(record).then(() => draft.forget(), () => draft.leave());
  }
}

const emptyOf = (field) => field.choices?.[0] ?? "";

/** Says at an input what is wrong with it, until something else is typed. */
function complain(input, words) {
  input.setCustomValidity(words);
  input.reportValidity();
}
