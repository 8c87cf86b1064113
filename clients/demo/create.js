/** The small form for a new lead. */

export class CreateForm {
  #form;
  #button;
  #save;

  /** `button` opens and closes the form; `save(fields)` takes the lead. */
  constructor(form, button, save) {
    this.#form = form;
    this.#button = button;
    this.#save = save;
    button.addEventListener("click", () => this.#toggle(form.hidden));
    form.addEventListener("keydown", ({ key }) => key === "Escape" && this.#toggle(false));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
  }

  /** The branches for which this person may add leads; none: they may not. */
  offer(branches) {
    const { branch_id } = this.#form.elements;
    branch_id.replaceChildren(...branches.map((branch) => new Option(branch.name, branch.id)));
    this.#form.querySelector(".branch").hidden = branches.length < 2;
    this.#button.disabled = branches.length === 0;
  }

  set enabled(enabled) {
    this.#button.hidden = !enabled;
    if (!enabled) this.#toggle(false);
  }

  #toggle(open) {
    if (this.#form.hidden !== open) return;
    this.#form.hidden = !open;
    this.#button.ariaExpanded = open;
    (open ? this.#form.elements.name : this.#button).focus();
  }

  #submit() {
    const { name, company, branch_id } = this.#form.elements;
    const fields = { name: name.value.trim(), company: company.value.trim() || null, branch_id: branch_id.value };
    if (!fields.name) return;
    this.#save(fields);
    name.value = company.value = "";
    this.#toggle(false);
  }
}
