/**
 * One field of the record page: its label, its input, a word about its state, and a line for what else there is to say.
 *
 * While somebody works in it, or has typed what is not written yet, nothing that arrives touches the input: another's
 * value is offered below it.
 */

import { fieldWords } from "./collections.js";
import { flash } from "./flash.js";
import { fill, makeInput, putOf, readOf, textOf } from "./inputs.js";
import { isOpen } from "./list.js";
import { capitalised, timeOf } from "./words.js";

const template = document.getElementById("field");
let made = 0;

export class Field {
  element = template.content.firstElementChild.cloneNode(true);

  #spec;
  #owner;
  #input;
  #value; // what the input was filled with
  #now; // what the record has
  #author = ""; // who changed it last
  #isEntered = false;
  #isTyped = false; // since it was entered
  #isWrong = false; // and somebody wanted it written
  #draft = null; // {text, at_ms}: typed at another time, and not written
  #$ = (selector) => this.element.querySelector(selector);

  /**
   * `owner` is `{entered(name), left(name), typed(name, text), write(name, value), forget(name), context}`: it tells others
   * who edits what, and keeps what is typed.
   */
  constructor(spec, owner) {
    this.#spec = spec;
    this.#owner = owner;
    this.label = capitalised(fieldWords(spec.name));
    this.#$("label").textContent = this.label;
    Object.assign(this.element.dataset, { kind: spec.kind, field: spec.name });
    this.#setUp(makeInput(spec));
  }

  /** Brings it up to date: `{value, isWritable, word, by, byBranch, editors}`. */
  show({ value, isWritable, word, by, byBranch, editors }) {
    this.#now = value ?? null;
    if (by) this.#author = by;
    const read = this.#$(".read");
    read.hidden = isWritable;
    this.#input.hidden = !isWritable;
    if (!isWritable) setText(read, this.#inWords(this.#now));
    else if (this.#value === undefined || (!this.#isHeld && this.#isBehind)) this.#fill(this.#now);
    setText(this.#$(".word"), word || by);
    this.#$(".word").dataset.branch = word ? "" : byBranch;
    this.element.classList.toggle("needs-review", word === "Needs review");
    this.element.classList.toggle("read-only", !isWritable);
    setText(this.#$(".editing"), editors.length > 0 ? `${editors.map(({ first }) => first).join(", ")} is editing` : "");
    this.#$(".editing").dataset.branch = editors[0]?.branch ?? "";
    this.#showLine();
  }

  /** Somebody else has changed it. */
  flash(branch) {
    const place = this.#isInput ? ".below" : ".read"; // what is held has not changed: its line says what has
    flash(this.#isInput && !this.#isHeld ? this.#input : this.#$(place), branch);
  }

  /** Puts back what was typed at another time, unless there is something newer. */
  offer(draft) {
    if (!this.#isInput || this.#isHeld || draft.text === putOf(this.#spec, this.#now)) return;
    this.#draft = draft;
    this.#input.value = draft.text;
    this.#showLine();
  }

  get #isInput() {
    return !this.#input.hidden;
  }

  get #isDirty() {
    return this.#input.value !== putOf(this.#spec, this.#value);
  }

  /** Whether the record has another value than the one that the input was filled with. */
  get #isBehind() {
    return putOf(this.#spec, this.#now) !== putOf(this.#spec, this.#value);
  }

  get #isHeld() {
    if (this.#isDirty) return true;
    return this.#spec.kind === "choice" ? isOpen(this.#input) : this.#isEntered;
  }

  #setUp(input) {
    this.#input = input;
    input.id = `field-${(made += 1)}`;
    this.#$("label").htmlFor = input.id;
    const said = ["word", "editing", "below"].map((part) => Object.assign(this.#$(`.${part}`), { id: `${input.id}-${part}` }));
    input.setAttribute("aria-describedby", said.map(({ id }) => id).join(" "));
    this.#$(".read").before(input);
    input.addEventListener("input", () => {
      this.#isTyped = true;
      this.#isWrong = false;
      this.#owner.typed(this.#spec.name, input.value);
    });
    input.addEventListener("change", () => this.#spec.kind === "choice" && this.#commit());
    input.addEventListener("keydown", (event) => this.#keyed(event));
    this.element.addEventListener("focusin", () => this.#entered());
    this.element.addEventListener("focusout", ({ relatedTarget }) => {
      const isWindow = this.element.contains(document.activeElement); // which was left, not the field
      if (!isWindow && !this.element.contains(relatedTarget)) this.#left();
    });
  }

  #entered() {
    if (this.#isEntered || !this.#isInput) return;
    this.#isEntered = true;
    this.#isTyped = false;
    this.#owner.entered(this.#spec.name);
  }

  #left() {
    if (!this.#isEntered) return;
    this.#isEntered = false;
    if (this.#isTyped) this.#commit();
    this.#owner.left(this.#spec.name);
  }

  #keyed(event) {
    const { key, ctrlKey, metaKey } = event;
    const { kind } = this.#spec;
    if (key === "Enter" && kind !== "choice" && (kind !== "lines" || ctrlKey || metaKey)) {
      event.preventDefault();
      this.#commit();
    } else if (key === "Escape" && (this.#isDirty || isOpen(this.#input))) {
      event.stopPropagation(); // the next one leaves the page
      if (!isOpen(this.#input)) this.#discard();
    }
  }

  /** Writes what is there, if it may be written and is another value. */
  #commit() {
    if (this.#spec.isRequired) this.#input.value = this.#input.value.trim(); // blanks are nothing
    this.#isWrong = this.#isDirty && !this.#input.checkValidity();
    if (this.#isWrong) return this.#showLine();
    if (!this.#isDirty) return this.#discard();
    const value = readOf(this.#spec, this.#input.value);
    this.#settle(value);
    this.#owner.write(this.#spec.name, value);
  }

  #discard() {
    this.#settle(this.#now);
    this.#owner.forget(this.#spec.name);
  }

  #settle(value) {
    this.#draft = null;
    this.#isTyped = false;
    this.#isWrong = false;
    this.#fill(value);
    this.#now = value;
    this.#showLine();
  }

  #fill(value) {
    this.#value = value;
    fill(this.#input, this.#spec, value);
  }

  #inWords(value) {
    return textOf(this.#spec, value, this.#owner.context);
  }

  /** Below the input: what is wrong with the value, what somebody else wrote meanwhile, or that it was typed earlier. */
  #showLine() {
    const [words, actions] = this.#isInput ? this.#lineOf() : ["", []];
    const line = this.#$(".below");
    line.classList.toggle("bad", this.#isWrong);
    this.#input.setAttribute("aria-invalid", this.#isWrong);
    if (line.dataset.words === words) return;
    line.dataset.words = words;
    const said = Object.assign(document.createElement("span"), { textContent: words, title: words });
    line.replaceChildren(said, ...actions.map(([name, act]) => this.#button(name, act)));
  }

  #lineOf() {
    if (this.#isWrong) return [this.#input.validationMessage, []];
    if (this.#isHeld && this.#isBehind) {
      return [`${this.#author || "Now"}: ${this.#inWords(this.#now)}`, [["Take it", () => this.#discard()]]];
    }
    if (!this.#draft) return ["", []];
    return [`Typed ${timeOf(new Date(this.#draft.at_ms))}, not saved`, [["Save", () => this.#commit()], ["Discard", () => this.#discard()]]];
  }

  #button(name, act) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: name });
    button.setAttribute("aria-label", `${name}: ${this.label}`);
    button.addEventListener("click", () => {
      this.#input.focus();
      act();
    });
    return button;
  }
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
