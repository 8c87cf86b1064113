/** Writes that the server has refused: what was typed, why, and a way to mend it or to let it go. Nothing else waits for them. */

import { COLLECTIONS, fieldWords, specOf } from "./collections.js";
import { fill, isEditable, makeInput, readOf, textOf } from "./inputs.js";
import { capitalised, sentence } from "./words.js";

const template = document.getElementById("refused");
const DEPENDENCY = "refused_by_dependency";
const REASONS = {
  version_mismatch: (one) => `Somebody has changed this ${one} since you saw it, and this value is not to be written over unseen.`,
  not_found: (one) => `This ${one} was deleted, or is not yours to see any more.`,
  forbidden: (one) => `You may not write to this ${one}.`,
  access_lost: (one) => `You may not see this ${one} any more.`,
  [DEPENDENCY]: (one) => `It belongs to a new ${one} that was refused, and goes with it.`,
  expired: () => "It was written so long ago that the server cannot tell what came before and what after.",
  unavailable: () => "The server could not take it, several times.",
  internal: () => "The server failed at it, several times.",
};

/** Why it was refused, to a person. */
export function reasonOf({ code, message, mutation }) {
  const isShown = code === "invalid"; // what came is what was typed
  return REASONS[code]?.(COLLECTIONS[mutation.collection]?.one ?? "record") ?? sentence(isShown ? message.split(", got ")[0] : message || code);
}

/** After a number. */
const countWords = (count) => (count === 1 ? "needs review" : "need review");

export class Inbox {
  #pane;
  #button;
  #panel;
  #forms = new Map(); // entry id → its form, and what shows which record it is and what that has now
  #isOpen = false;

  /** `pane` gives the client, the records and the names, and takes what is tried again. */
  constructor(pane, { button, panel }) {
    this.#pane = pane;
    this.#button = button;
    this.#panel = panel;
    button.addEventListener("click", () => (this.#isOpen ? this.close() : this.open()));
    panel.querySelector(".close").addEventListener("click", () => this.close());
    panel.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.close();
    });
  }

  open() {
    this.#setOpen(true);
    this.#panel.querySelector("h2").focus();
  }

  close() {
    if (!this.#isOpen) return;
    this.#setOpen(false);
    const tab = this.#pane.element.querySelector('[role="tab"][aria-selected="true"]');
    (this.#button.hidden ? tab : this.#button).focus();
  }

  /** Somebody else is signed in. */
  clear() {
    this.#setOpen(false);
    this.#button.hidden = true;
    for (const { form } of this.#forms.values()) form.remove();
    this.#forms.clear();
  }

  /** Call it in an animation frame. Of a form that is there, only which record it is, and what that has now, are drawn: somebody may be typing. */
  draw() {
    const { inbox } = this.#pane.client;
    for (const { show } of this.#forms.values()) show();
    if (inbox.length === this.#forms.size && inbox.every(({ id }) => this.#forms.has(id))) return;
    this.#button.hidden = inbox.length === 0;
    const [number, words] = this.#button.children;
    number.textContent = inbox.length;
    words.textContent = countWords(inbox.length);
    this.#panel.querySelector("h2").textContent = `${inbox.length} ${countWords(inbox.length)}`;
    const ids = new Set(inbox.map(({ id }) => id));
    for (const [id, { form }] of this.#forms) {
      if (ids.has(id)) continue;
      form.remove();
      this.#forms.delete(id);
    }
    for (const entry of inbox) {
      if (this.#forms.has(entry.id)) continue;
      const made = this.#make(entry, ids);
      this.#panel.querySelector(".entries").append(made.form);
      this.#forms.set(entry.id, made);
    }
    if (inbox.length === 0) this.close();
  }

  /** What is behind the panel cannot be reached while it is open. */
  #setOpen(isOpen) {
    this.#isOpen = isOpen;
    this.#panel.style.top = `${this.#button.parentElement.offsetHeight}px`;
    this.#panel.hidden = !isOpen;
    this.#button.ariaExpanded = String(isOpen);
    for (const each of this.#pane.element.querySelectorAll(":scope > :not(.person, .review, .spoken, .undo)")) each.inert = isOpen;
  }

  #make(entry, ids) {
    const { mutation, code } = entry;
    const { collection, id, operation, fields } = mutation;
    const one = COLLECTIONS[collection]?.one ?? collection;
    const recordNow = () => this.#pane.recordOf(COLLECTIONS[collection], id) ?? entry.record;
    const record = recordNow();
    const form = template.content.firstElementChild.cloneNode(true);
    const $ = (selector) => form.querySelector(selector);
    $(".what").textContent = { insert: `New ${one}`, delete: `Deletion of this ${one}`, update: `Change of this ${one}` }[operation];
    $(".reason").textContent = reasonOf(entry);
    $(".to-record").textContent = `Open ${one}`;
    $(".to-record").addEventListener("click", () => {
      this.close();
      this.#pane.openRecord(collection, id);
    });
    const entitle = () => {
      const name = recordNow()?.name ?? fields.name ?? capitalised(one);
      $(".to-record").hidden = !this.#pane.recordOf(COLLECTIONS[collection], id);
      if ($("h3").textContent === name) return;
      $("h3").textContent = name;
      form.setAttribute("aria-label", `${name}: ${$(".reason").textContent}`);
    };
    const editors = Object.entries(fields).map(([field, value]) => new Value(specOf(collection, field), value, record, this.#pane));
    $(".fields").replaceChildren(...editors.map(({ element }) => element));
    const { drafts } = this.#pane.client.offline;
    const forget = () => void drafts.delete(collection, entry.id).catch(() => {});
    form.addEventListener("input", ({ target }) => void drafts.save(collection, entry.id, target.name, target.value).catch(() => {}));
    void drafts.get(collection, entry.id).then((typed) => editors.forEach(({ field, offer }) => field in typed && offer(typed[field])), () => {});
    $(".again").hidden = code === DEPENDENCY && entry.depends_on.some((each) => ids.has(each)); // it goes with the other
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const values = Object.fromEntries(editors.map(({ field, read }) => [field, read()]));
      this.#leave(form, () => void this.#pane.writes.retry(entry, values).then(forget, () => {}));
    });
    $(".discard").addEventListener("click", ({ target }) => {
      if (target.dataset.sure) return this.#leave(form, () => void this.#pane.client.discard(entry.id).then(forget));
      target.dataset.sure = "yes";
      target.textContent = "Discard for good";
    });
    $(".discard").addEventListener("blur", ({ target }) => {
      delete target.dataset.sure;
      target.textContent = "Discard";
    });
    const show = () => {
      entitle();
      editors.forEach((editor) => editor.show(recordNow()));
    };
    show();
    return { form, show };
  }

  /** The form goes, and the focus to what is left. */
  #leave(form, act) {
    act();
    this.draw();
    if (this.#isOpen) this.#panel.querySelector("h2").focus();
  }
}

/** One value that was typed, to be mended, and what the record has now if that is another. */
class Value {
  element = document.createElement("div");
  read;
  offer = () => {};
  #now = Object.assign(document.createElement("p"), { className: "below" });
  #textOf;
  #typed;

  constructor(spec, value, record, pane) {
    this.field = spec.name;
    this.#textOf = (of) => textOf(spec, of?.[spec.name], pane.contextOf(of));
    this.#typed = textOf(spec, value, pane.contextOf(record));
    this.element.className = "field";
    this.element.dataset.kind = spec.kind;
    const context = pane.contextOf(record);
    const label = Object.assign(document.createElement("label"), { textContent: capitalised(fieldWords(spec.name)) });
    if (isEditable(spec)) {
      const input = makeInput(spec);
      fill(input, spec, value);
      label.append(input);
      const before = input.value;
      // What was not touched goes as it was typed.
      this.read = () => (input.value === before ? value : readOf(spec, input.value));
      // What was typed at another time; not over what is typed now.
      this.offer = (text) => input.value === before && (input.value = text);
    } else {
      label.append(Object.assign(document.createElement("span"), { className: "read", textContent: textOf(spec, value, context) }));
      this.read = () => value;
    }
    this.element.append(label, this.#now);
  }

  /** What the record has now, if that is another value. */
  show(record) {
    const now = this.#textOf(record);
    const words = record && now !== this.#typed ? `Now: ${now}` : "";
    if (this.#now.textContent !== words) this.#now.textContent = words;
  }
}
