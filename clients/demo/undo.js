/**
 * The last own writes of a pane, each of which can be taken back: by a bar that passes, or Ctrl or Cmd with Z.
 *
 * To take a write back is an ordinary write of the former values, of the fields that nobody has changed since.
 */

import { describe, fieldWords } from "./collections.js";
import { capitalised } from "./words.js";

const KEPT = 20;
const SHOWN_MS = 8_000;

let current = null; // whom the keyboard means: the pane where somebody was last

export class Undo {
  #pane;
  #bar;
  #done = []; // {collection, id, name, from, to, words, write}, the newest last
  #undone = [];
  #shown = null; // the one of them that the bar offers to turn
  #timer = 0;

  /** `pane` gives the records and takes the writes; `bar` is a live region. */
  constructor(pane, bar) {
    this.#pane = pane;
    this.#bar = bar;
    for (const type of ["pointerdown", "focusin"]) pane.element.addEventListener(type, () => (current = this), { capture: true });
    for (const type of ["pointerleave", "focusout"]) bar.addEventListener(type, () => this.#passAway());
    document.addEventListener("keydown", (event) => current === this && this.#keyed(event));
  }

  /** `before` was written over with `fields`, by `write`. */
  note(collection, before, fields, write) {
    if (!before) return;
    current = this;
    const { id } = before;
    const record = { ...before, ...fields };
    const from = Object.fromEntries(Object.keys(fields).map((field) => [field, before[field] ?? null]));
    const words = capitalised(describe(collection, { kind: "changed", record, before, fields: Object.keys(fields) }));
    this.#undone = [];
    this.#keep(this.#done, { collection, id, name: record.name, from, to: fields, words }, write);
    this.#show(words, "Undo", () => this.undo());
    this.#shown = this.#done.at(-1);
  }

  undo() {
    this.#turn(this.#done, this.#undone, "Took back", ["Redo", () => this.redo()]);
  }

  redo() {
    this.#turn(this.#undone, this.#done, "Did again", ["Undo", () => this.undo()]);
  }

  clear() {
    this.#done = [];
    this.#undone = [];
    this.#hide();
  }

  /** Takes back the last of `from`, and keeps the way back in `to`. */
  #turn(from, to, did, action) {
    const entry = from.pop();
    if (!entry) return;
    const record = this.#pane.recordOf(entry.collection, entry.id);
    if (!record) return this.#show(`${entry.name} is not there any more.`);
    const [same, others] = split(Object.keys(entry.to), (field) => isSame(record[field], entry.to[field]));
    const moved = others.map((field) => fieldWords(field)).join(", ");
    if (same.length === 0) return this.#show(`Somebody has changed ${moved} of ${entry.name} since: it stays.`);
    const [back, forth] = [entry.from, entry.to].map((fields) => Object.fromEntries(same.map((field) => [field, fields[field]])));
    const write = this.#pane.rewrite(entry.collection, entry.id, back);
    this.#keep(to, { ...entry, from: forth, to: back }, write);
    const rest = moved && `, but for ${moved}, which somebody has changed since`;
    this.#show(`${did}: ${entry.words[0].toLowerCase()}${entry.words.slice(1)}${rest}`, ...action);
    this.#shown = to.at(-1);
  }

  #keep(entries, entry, write) {
    entries.push(entry);
    if (entries.length > KEPT) entries.shift();
    write.server.catch(() => {
      if (entry === this.#shown) this.#hide(); // its button would turn the one before
      for (const each of [this.#done, this.#undone]) if (each.includes(entry)) each.splice(each.indexOf(entry), 1);
    });
  }

  #show(words, name, act) {
    clearTimeout(this.#timer);
    this.#shown = null;
    const said = Object.assign(document.createElement("span"), { textContent: words, title: words });
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: name ?? "" });
    button.addEventListener("click", () => act());
    const passing = Object.assign(document.createElement("div"), { className: "passing" });
    passing.append(said, ...(name ? [button] : []));
    this.#bar.replaceChildren(passing);
    this.#passAway();
  }

  /** It goes by itself, but not from under the pointer or the focus. */
  #passAway() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#bar.matches(":hover, :focus-within") || this.#hide(), SHOWN_MS);
  }

  #hide() {
    clearTimeout(this.#timer);
    this.#bar.replaceChildren();
  }

  #keyed(event) {
    const { key, ctrlKey, metaKey, shiftKey, altKey, target } = event;
    if (key.toLowerCase() !== "z" || !(ctrlKey || metaKey) || altKey || event.defaultPrevented) return;
    if (target.closest("textarea, [contenteditable], input:not([type=checkbox])")) return; // it undoes what was typed
    event.preventDefault();
    if (shiftKey) this.redo();
    else this.undo();
  }
}

/** "5" and "5.00" are the same amount. */
const isSame = (a, b) => (a ?? null) === (b ?? null) || (isNumeric(a) && isNumeric(b) && Number(a) === Number(b));

const isNumeric = (value) => value !== null && value !== "" && Number.isFinite(Number(value));

function split(items, test) {
  return [items.filter(test), items.filter((item) => !test(item))];
}
