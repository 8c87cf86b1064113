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
  #text = ""; // the same as the input holds it: browsers have line breaks of their own
  #now; // what the record has
  #author = ""; // who changed it last
  #isEntered = false;
  #isTyped = false; // since it was entered
  #isWrong = false; // and somebody wanted it written
  #draft = null; // {text, from, at_ms}: what was typed last and is not written, and the value that it was typed over
  #$ = (selector) => this.element.querySelector(selector);

  /**
   * `owner` is `{entered(name), left(name), keep(name, draft), forget(name), isWritable, write(name, value, draft), context, now}`:
   * it tells others who edits what, keeps what is typed, and writes. `write` is done when the value cannot get lost any more.
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
    const before = this.#now;
    this.#now = value ?? null;
    // Another tab has written it, say, and deleted the draft of what it wrote, which may have lain in the place of this one.
    if (this.#draft && putOf(this.#spec, before) !== putOf(this.#spec, this.#now)) this.#owner.keep(this.#spec.name, this.#draft);
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

  /** Puts back what was typed at another time. What was written since then is offered beside it. */
  offer(draft) {
    if (this.#isDirty) return;
    if (draft.text === putOf(this.#spec, this.#now)) this.#owner.forget(this.#spec.name);
    else this.#putBack(draft);
  }

  #putBack(draft) {
    this.#fill("from" in draft ? draft.from : this.#value);
    this.#draft = draft;
    this.#isTyped = false;
    this.#input.value = draft.text;
    this.#showLine();
  }

  get #isInput() {
    return !this.#input.hidden;
  }

  get #isDirty() {
    return this.#input.value !== this.#text || this.#input.validity.badInput;
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
      if (input.validity.badInput) return; // nobody can read it out, half a date for example
      this.#draft = { text: input.value, from: this.#value, at_ms: this.#owner.now };
      this.#owner.keep(this.#spec.name, this.#draft);
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
    if (this.#isTyped || this.#input.validity.badInput) this.#commit(); // of half a date nothing is told
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

  /** Writes what is there, if it may be written and is another value. It may not any more if somebody has deleted the record. */
  #commit() {
    this.#isTyped = false;
    if (!this.#owner.isWritable) return this.#showLine(); // what is typed stays a draft
    if (this.#spec.isRequired) this.#input.value = this.#input.value.trim(); // blanks are nothing
    this.#isWrong = this.#isDirty && !this.#input.checkValidity();
    if (this.#isWrong) return this.#showLine();
    if (!this.#isDirty) return this.#discard();
    const value = readOf(this.#spec, this.#input.value);
    const draft = this.#draft;
    this.#settle(value);
    this.#owner.write(this.#spec.name, value, draft).catch(() => this.#isDirty || this.#putBack(draft));
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
    this.#text = this.#input.value;
  }

  #inWords(value) {
    return textOf(this.#spec, value, this.#owner.context);
  }

  /** Below the input: what is wrong with the value, that it was typed earlier, or what somebody else wrote meanwhile. */
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
    const isDraft = this.#draft !== null && !this.#isTyped;
    const isBehind = this.#isHeld && this.#isBehind;
    const words = [];
    const actions = [];
    if (isDraft) {
      words.push(`Typed ${timeOf(new Date(this.#draft.at_ms))}, not saved`);
      actions.push(["Save", () => this.#commit()]);
    }
    if (isBehind) words.push(`${this.#author || "Now"}: ${this.#inWords(this.#now)}`);
    if (isDraft || isBehind) actions.push([isBehind ? "Take it" : "Discard", () => this.#discard()]);
    return [words.join(" · "), actions];
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
