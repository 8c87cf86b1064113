/**
 * The last own writes of a pane, each of which can be taken back: by a bar that passes, or Ctrl or Cmd with Z.
 *
 * To take a write back is an ordinary write of the former values, of the fields that nobody has changed since. What was added
 * is deleted, and what was deleted is added with the values that it had. What cannot be turned now may be another time.
 */

import { describe, fieldsOf, fieldWords } from "./collections.js";
import { capitalised } from "./words.js";

const KEPT = 20;
const SHOWN_MS = 8_000;

let current = null; // whom the keyboard means: the pane where somebody was last

export class Undo {
  #pane;
  #bar;
  #done = []; // {collection, id, name, from, to, words}, the newest last; `from` or `to` is null where there was no record
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

  /**
   * `before`, if there was a record, was written over with `fields`, or deleted if these are null, by `write`. `kind` and `record` are
   * for the words, see `describe`.
   */
  note({ kind, collection, id, before, record, fields }, write) {
    current = this;
    const names = Object.keys(fields ?? {});
    const from = before ? (fields ? pick(before, names) : fieldsOf(before)) : null;
    const words = capitalised(describe(collection, { kind, record, before, fields: names }));
    this.#undone = [];
    this.#keep(this.#done, { collection, id, name: record.name, from, to: fields, words }, write);
    const opening = kind === "added" ? [["Open", () => this.#pane.openRecord(collection.name, id)]] : [];
    this.#show(words, ...opening, ["Undo", () => this.undo()]);
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
    const entry = from.at(-1);
    if (!entry) return;
    const record = this.#pane.recordOf(entry.collection, entry.id);
    if (!record && entry.to) return this.#show(`${entry.name} is not there any more.`);
    if (record && !entry.to) return this.#show(`${entry.name} is there again.`);
    const isWhole = !entry.from || !entry.to;
    // No record is deleted with what others wrote in it.
    const names = Object.keys(isWhole && record ? fieldsOf(record) : (entry.to ?? {}));
    const [same, others] = split(names, (field) => isSame(record[field], entry.to[field]));
    const moved = others.map((field) => fieldWords(field)).join(", ");
    const whoever = record?.updated_by === this.#pane.client.principal?.user_id ? "you have" : "somebody has";
    if (moved && (isWhole || same.length === 0)) return this.#show(`${capitalised(whoever)} changed ${moved} of ${entry.name} since: it stays.`);
    from.pop();
    const [back, forth] = isWhole ? [entry.from, record ? fieldsOf(record) : null] : [pick(entry.from, same), pick(entry.to, same)];
    const write = this.#pane.writes.put(entry.collection, entry.id, back);
    this.#keep(to, { ...entry, from: forth, to: back }, write);
    const rest = moved && `, but for ${moved}, which ${whoever} changed since`;
    this.#show(`${did}: ${entry.words[0].toLowerCase()}${entry.words.slice(1)}${rest}`, action);
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

  /** `actions` are `[name, act]`. */
  #show(words, ...actions) {
    clearTimeout(this.#timer);
    this.#shown = null;
    const said = Object.assign(document.createElement("span"), { textContent: words, title: words });
    const buttons = actions.map(([textContent, act]) => {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent });
      button.addEventListener("click", () => act());
      return button;
    });
    const passing = Object.assign(document.createElement("div"), { className: "passing" });
    passing.append(said, ...buttons);
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

const pick = (record, fields) => Object.fromEntries(fields.map((field) => [field, record[field] ?? null]));

function split(items, test) {
  return [items.filter(test), items.filter((item) => !test(item))];
}
