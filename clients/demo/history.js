/** What a record was: its versions, newest first, with who made them, what they changed, and a way back. */

import { fieldsOf, fieldWords } from "./collections.js";
import { textOf } from "./inputs.js";
import { capitalised, sentence, timeOf } from "./words.js";

const PAGE = 20;
const template = document.getElementById("version");

export class History {
  #element;
  #pane;
  #onChange;
  #collection = null;
  #id = "";
  #versions = []; // newest first, as the API has them
  #items = new Map(); // version → its element
  #newest = 0; // the newest version that is known of
  #cursor = null; // of the page of older ones
  #isAsking = false;
  #isStale = false; // asked again while asking
  #problem = "";
  #waiting = []; // newer ones that are not shown yet, because somebody points here
  #$ = (selector) => this.#element.querySelector(selector);

  /** `pane` gives the client and the names; `onChange()`: more is known. */
  constructor(element, pane, onChange) {
    this.#element = element;
    this.#pane = pane;
    this.#onChange = onChange;
    this.#$(".older").addEventListener("click", () => this.#fetchOlder());
    this.#$(".newer").addEventListener("click", () => this.#take());
    for (const leaving of ["pointerleave", "focusout"]) element.addEventListener(leaving, () => this.#inUse || this.#take());
  }

  /** Fetches the versions of a record. */
  show(collection, id) {
    this.clear();
    this.#collection = collection;
    this.#id = id;
    this.refresh();
  }

  clear() {
    this.#id = "";
    this.#versions = [];
    this.#waiting = [];
    this.#items.clear();
    this.#cursor = null;
    this.#newest = 0;
    this.#isAsking = this.#isStale = false;
    this.#problem = "";
    this.#$("ol").replaceChildren();
  }

  /** Whether the server has said what there is, or that there is nothing. */
  get isSettled() {
    return this.#versions.length > 0 || this.#problem !== "";
  }

  /** The record as it last was. */
  get lastRecord() {
    return this.#versions.find(({ record }) => record !== null)?.record ?? null;
  }

  /** Who deleted it, if the newest version says that it was. */
  get deletedBy() {
    const newest = this.#versions[0];
    return newest?.operation === "delete" ? this.#pane.authorOf(newest) : "";
  }

  /** A change of the record has come; of several topics it may come several times. */
  changed({ version }) {
    if (version <= this.#newest) return;
    this.#newest = version;
    this.refresh();
  }

  /** There may be newer versions. */
  refresh() {
    if (this.#isAsking) this.#isStale = true;
    else if (this.#id) void this.#fetchNewest();
  }

  /** Brings it up to date; `record` is how it is now, undefined if it is gone. */
  draw(record) {
    const { client, page } = this.#pane;
    if (!client.principal || page.branches.size === 0) return; // nobody could be named
    const isWritable = record !== undefined && this.#pane.mayWrite(record);
    const shown = this.#cursor ? this.#versions.slice(0, -1) : this.#versions; // what the last one changed is not known yet
    let next = null;
    for (const [index, entry] of [...shown.entries()].reverse()) {
      if (!this.#items.has(entry.version)) this.#items.set(entry.version, this.#makeItem(entry, this.#versions[index + 1]));
      const { element, puts, restore } = this.#items.get(entry.version);
      const isOther = isWritable && entry.record !== null && Object.keys(differing(entry.record, record)).length > 0;
      if (element.parentElement === null) this.#$("ol").insertBefore(element, next);
      hideKindly(restore, !isOther);
      for (const { button, field, value } of puts) hideKindly(button, !isWritable || same(record[field], value));
      next = element;
    }
    this.#$(".older").hidden = this.#cursor === null;
    this.#$(".newer").hidden = this.#waiting.length === 0;
    this.#$(".newer").textContent = `${this.#waiting.length} newer`;
    this.#$(".problem").textContent = this.#versions.length === 0 ? this.#problem || "Fetching" : "";
  }

  /** Whether somebody points at it or works in it, so that nothing may move. */
  get #inUse() {
    return this.#element.matches(":hover, :focus-within");
  }

  async #fetchNewest() {
    const answer = await this.#fetch("");
    if (!answer) return;
    const known = this.#versions[0]?.version ?? 0;
    const isJoined = known === 0 || answer.items.some(({ version }) => version <= known);
    if (known === 0 || !isJoined) {
      [this.#versions, this.#waiting, this.#cursor] = [answer.items, [], answer.next_cursor];
      this.#items.clear();
      this.#$("ol").replaceChildren();
    } else {
      this.#waiting = answer.items.filter(({ version }) => version > known);
    }
    if (!this.#inUse) this.#take();
    this.#onChange();
  }

  async #fetchOlder() {
    const answer = await this.#fetch(`&cursor=${encodeURIComponent(this.#cursor)}`);
    if (!answer) return;
    this.#versions.push(...answer.items);
    this.#cursor = answer.next_cursor;
    this.#onChange();
  }

  /** The answer, or null if there is none or nobody wants it any more. */
  async #fetch(more) {
    const [id, { client }] = [this.#id, this.#pane];
    this.#isAsking = true;
    try {
      const path = `/api/${this.#collection.name}/${id}/history?limit=${PAGE}${more}`;
      const [answer] = await Promise.all([client.request("GET", path), this.#pane.authors.learn()]);
      return id === this.#id && client === this.#pane.client ? answer : null;
    } catch (error) {
      if (id === this.#id) this.#problem = isAway(error) ? "The history comes with the connection." : sentence(error.message);
      this.#onChange();
      return null;
    } finally {
      if (id === this.#id) {
        this.#isAsking = false;
        if (this.#isStale) queueMicrotask(() => this.refresh());
        this.#isStale = false;
      }
    }
  }

  #take() {
    if (this.#waiting.length === 0) return;
    this.#versions.unshift(...this.#waiting.splice(0));
    this.#onChange();
  }

  /** Writes former values again. */
  #restore(fields) {
    this.#pane.writes.update(this.#id, fields, this.#collection);
  }

  #makeItem(entry, before) {
    const { operation, record, changed } = entry;
    const element = template.content.firstElementChild.cloneNode(true);
    const [by, did, time, restore] = [".by", ".did", "time", ".restore"].map((each) => element.querySelector(each));
    const author = this.#pane.authorOf(entry);
    by.textContent = author;
    by.dataset.branch = this.#pane.branchSlugOf(entry);
    const at = new Date(entry.at);
    time.dateTime = entry.at;
    time.title = at.toLocaleString("en-GB", { dateStyle: "full", timeStyle: "medium" });
    time.textContent = timeOf(at);
    restore.setAttribute("aria-label", `Restore the version of ${time.textContent} by ${author}`);
    restore.addEventListener("click", () => {
      this.#restore(differing(record, this.#pane.recordOf(this.#collection, this.#id)));
    });
    const puts = [];
    if (operation === "update" && before?.record) {
      const lines = changed.map((field) => this.#makeLine(field, before, record, puts));
      element.querySelector("ul").append(...lines);
      did.textContent = lines.length > 0 ? "" : "wrote it again";
    } else {
      did.textContent = operation === "delete" ? "deleted it" : before ? "brought it back" : "created it";
    }
    return { element, puts, restore };
  }

  /** "Phone  +33 1 → +33 2", with a button that puts the first one back. */
  #makeLine(name, before, record, puts) {
    const field = this.#collection.fields.find((each) => each.name === name);
    const line = document.createElement("li");
    const values = document.createElement("p");
    const label = capitalised(fieldWords(name));
    line.append(part("b", label));
    if (!field) return line;
    const [was, is] = [before.record, record].map((each) => textOf(field, each[name], this.#pane.contextOf(each)));
    const isNothing = before.record[name] === null;
    values.append(part(isNothing ? "span" : "s", was), part("i", "→"), part("span", is));
    const button = part("button", "Put back");
    button.type = "button";
    button.setAttribute("aria-label", `Put back ${label}: ${was}`);
    button.addEventListener("click", () => this.#restore({ [name]: before.record[name] }));
    line.append(values, button);
    puts.push({ button, field: name, value: before.record[name] });
    return line;
  }
}

const isAway = ({ code }) => code === "unreachable";
const same = (one, other) => (one ?? null) === (other ?? null);

/** What of a former record is not so now. */
const differing = (former, now) => Object.fromEntries(Object.entries(fieldsOf(former)).filter(([name, value]) => !same(value, now[name])));

const part = (tag, textContent) => Object.assign(document.createElement(tag), { textContent, title: tag === "button" ? "" : textContent });

/** A button that goes gives its focus to what is around it. */
function hideKindly(button, hidden) {
  if (button.hidden === hidden) return;
  if (hidden && document.activeElement === button) button.closest(".history").querySelector("h3").focus();
  button.hidden = hidden;
}
