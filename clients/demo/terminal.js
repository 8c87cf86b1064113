/** Two lines to copy that make, from a terminal, the write that a click would make here. */

import { nextState } from "./collections.js";

// `branchline up` keeps its addresses in a file that only its user can read: so no password passes through the page.
const fromFile = (home) => `"$(sed -n s/^BRANCHLINE_OWNER_DATABASE_URL=//p '${home.replaceAll("'", "'\\''")}/environment')"`;

const TOKEN_CHECK_MS = 30_000; // a token in a line that is copied should still be good when it is pasted

export class Terminal {
  #element;
  #database = fromFile(".branchline");
  #aim = null; // the record
  #pane = null;
  #collection = null;
  #$ = (id) => this.#element.querySelector(`#${id}`);

  constructor(element) {
    this.#element = element;
    setInterval(() => this.aimed && this.aim(this.#pane, this.#collection, this.#aim), TOKEN_CHECK_MS);
    for (const button of element.querySelectorAll("[data-copies]")) {
      button.addEventListener("click", () => copy(this.#$(button.dataset.copies), button));
    }
  }

  /** The folder in which `branchline up` keeps that file. */
  set home(folder) {
    this.#database = fromFile(folder);
    if (this.aimed) void this.aim(this.#pane, this.#collection, this.#aim);
  }

  get aimed() {
    return this.#aim !== null;
  }

  /** A record has changed: if it is the one, the lines are about its next state. */
  changed(pane, collection, record) {
    if (pane === this.#pane && record.id === this.#aim?.id) this.aim(pane, collection, record);
  }

  /** The lines are about this record from now on, in the name of the pane's person. */
  async aim(pane, collection, record) {
    this.#aim = record;
    this.#pane = pane;
    this.#collection = collection;
    const token = await pane.session.token().catch(() => "");
    if (this.#aim !== record) return;
    const field = collection.stateField;
    const value = nextState(collection, record);
    const person = (pane.client.principal?.name ?? "somebody").split(" ")[0];
    const line = this.#element.querySelector(".aim");
    line.textContent = `${record.name} becomes ${value}, as ${person} or straight in the database.`;
    this.#$("curl").replaceChildren(
      `curl -X PATCH ${location.origin}/api/${collection.name}/${record.id} -H 'Authorization: Bearer `,
      shortened(token),
      `' -H 'Content-Type: application/json' -d '{"${field}":"${value}"}'`,
    );
    this.#$("psql").textContent =
      `psql ${this.#database} -c "UPDATE ${collection.name} SET ${field} = '${value}' WHERE id = '${record.id}'"`;
  }
}

/** All of the text is there to be copied, only its beginning to be seen. */
function shortened(text) {
  const element = document.createElement("span");
  element.className = "token";
  element.textContent = text;
  return element;
}

async function copy(source, button) {
  try {
    await navigator.clipboard.writeText(source.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(source); // no clipboard on plain http: ready for the keyboard's copy
    button.textContent = "Selected";
  }
  setTimeout(() => (button.textContent = "Copy"), 1_600);
}
