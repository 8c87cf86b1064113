/** The page of one record, in place of the list: its fields, who else is here, its history. */

import { forgetOnceSafe } from "./drafts.js";
import { Field } from "./field.js";
import { History } from "./history.js";
import { isEditable } from "./inputs.js";

const RECENT_MS = 6_000;

export class RecordPage {
  id = "";

  #pane;
  #element;
  #collection = null;
  #fields = new Map(); // name → Field
  #people = null;
  #endEditing = () => {};
  #stop = () => {};
  #drafts = null; // by field, until they are offered
  #recent = new Map(); // field → {by, byBranch}: what has lately become of it
  #flashes = new Map(); // field → branch, for the next frame
  #last = null; // the record as it was seen last, or as the history has it
  #deletion = null; // the effect by which it went
  #history;
  #$ = (selector) => this.#element.querySelector(selector);

  /** `pane` gives the record and takes the writes; see pane.js. */
  constructor(pane, element) {
    this.#pane = pane;
    this.#element = element;
    this.#history = new History(element.querySelector(".history"), pane, () => pane.draw());
    this.#$(".back").addEventListener("click", () => pane.closeRecord());
    this.#$(".delete").addEventListener("click", () => this.#delete());
    this.#$(".bring-back").addEventListener("click", () => this.#bringBack());
    this.#$(".to-list").addEventListener("click", () => pane.closeRecord());
    element.addEventListener("keydown", ({ key, defaultPrevented }) => {
      if (key === "Escape" && !defaultPrevented) pane.closeRecord();
    });
  }

  get isOpen() {
    return this.id !== "";
  }

  /** What the record is called, if one is shown. */
  get name() {
    return this.#last?.name ?? "";
  }

  /** Shows a record of the pane's collection; without an id nothing. */
  show(id) {
    const { collection } = this.#pane;
    if (this.id === (id ?? "") && this.#collection === collection) return;
    this.end();
    this.id = id ?? "";
    this.#collection = collection;
    this.#element.hidden = !this.isOpen;
    this.#pane.element.classList.toggle("at-record", this.isOpen);
    if (this.isOpen) this.begin();
  }

  focus() {
    this.#$("h2").focus();
  }

  /** Somebody is signed in, and looks at the record if one is open. */
  begin() {
    const { client } = this.#pane;
    if (!this.isOpen || !client) return;
    this.#fields = new Map(this.#collection.fields.filter(isEditable).map((spec) => [spec.name, new Field(spec, this.#ownerOf(client))]));
    this.#$(".fields").replaceChildren(...[...this.#fields.values()].map(({ element }) => element));
    this.#$(".back").lastElementChild.textContent = this.#collection.title;
    this.#$(".body").scrollTop = 0;
    this.#people = client.presence(this.#collection.name, { id: this.id });
    this.#people.on(() => this.#pane.draw());
    this.#people.announce({ looks: true });
    this.#history.show(this.#collection, this.id);
    this.#stop = client.on("change", (change) => change.id === this.id && this.#history.changed(change));
    const id = this.id;
    void client.offline.drafts.get(this.#collection.name, id).then((drafts) => {
      if (client !== this.#pane.client || id !== this.id) return;
      this.#drafts = drafts;
      this.#pane.draw();
    });
  }

  /** Nobody looks at it any more. */
  end() {
    this.#stop();
    this.#people?.close();
    this.#people = null;
    this.#drafts = null;
    this.#recent.clear();
    this.#flashes.clear();
    this.#last = null;
    this.#deletion = null;
    this.#history.clear();
  }

  /** Takes an effect of the feed: `by` is who did it, `branch` the colour in which it lights up. */
  take(effect, by, branch) {
    const { id, kind, change, fields, mine } = effect;
    if (id !== this.id) return;
    this.#deletion = kind === "removed" ? effect : null;
    if (change?.operation === "leave") this.#askAnew();
    if (!mine && kind === "changed") for (const field of fields) this.#changed(field, by, branch);
  }

  /** The connection is back: what could not be fetched may be now. */
  connected() {
    if (this.isOpen) this.#history.refresh();
  }

  /** All records have come anew. One that is missing now was deleted, or is not theirs to read any more. */
  replaced() {
    if (this.isOpen && this.#last && !this.#pane.feed.live.get(this.id)) this.#askAnew();
  }

  /** What was seen is forgotten; what may still be seen, the history says. */
  #askAnew() {
    this.end();
    this.begin();
  }

  /** Call it in an animation frame. */
  draw() {
    if (!this.isOpen) return;
    const { feed } = this.#pane;
    const record = feed.live.get(this.id);
    this.#last = record ?? this.#last ?? this.#history.lastRecord;
    this.#drawHead(record);
    this.#$(".fields").hidden = !this.#last;
    if (!this.#last) return;
    const isWritable = record !== undefined && this.#pane.mayWrite(record);
    for (const [name, field] of this.#fields) field.show(this.#viewOf(name, record, isWritable));
    for (const [name, branch] of this.#flashes) this.#fields.get(name)?.flash(branch);
    this.#flashes.clear();
    if (isWritable && this.#drafts) {
      for (const [name, draft] of Object.entries(this.#drafts)) this.#fields.get(name)?.offer(draft);
      this.#drafts = null;
    }
    this.#history.draw(record);
  }

  #viewOf(name, record, isWritable) {
    const recent = this.#recent.get(name) ?? { by: "", byBranch: "" };
    const word = record ? this.#pane.wordOf(this.id, name) : "";
    const editors = this.#people ? named(this.#pane, this.#people.editing(this.id, name)) : [];
    return { value: this.#last[name], isWritable, word, ...recent, editors };
  }

  #drawHead(record) {
    const pane = this.#pane;
    const { one } = this.#collection;
    const isDeleted = !record && this.#last !== null;
    const isMissing = !record && !isDeleted && pane.feed.loaded && this.#history.isSettled;
    this.#$("h2").textContent = this.#last?.name ?? "";
    this.#$(".overall").textContent = record && pane.mayWrite(record) ? pane.wordOf(this.id) || "Saved" : "";
    this.#$(".branch-name").textContent = this.#last ? (pane.page.branches.get(this.#last.branch_id)?.name ?? "All branches") : "";
    this.#$(".branch-name").dataset.branch = pane.page.branches.get(this.#last?.branch_id)?.slug ?? "all";
    const owner = pane.authors.nameOf(this.#last?.owner_id);
    this.#$(".owner").textContent = owner ? `Owner: ${owner}` : "";
    let note = "";
    if (isDeleted) note = `${this.#deletedBy} deleted this ${one}.`;
    else if (record && pane.client.principal && !pane.mayWrite(record)) note = pane.reasonAgainstWriting(record);
    else if (isMissing) note = `There is no such ${one}, or it is not this person’s to read.`;
    else if (!record) note = `Fetching the ${one}`;
    this.#$(".history").hidden = isMissing;
    this.#$(".to-list").hidden = !isMissing;
    this.#$(".to-list").textContent = `Back to ${this.#collection.name}`;
    this.#$(".note").hidden = note === "";
    this.#$(".note").firstElementChild.textContent = note;
    this.#$(".bring-back").hidden = !isDeleted || !pane.mayWrite(this.#last);
    this.#$(".delete").ariaLabel = `Delete ${this.#last?.name ?? ""}`;
    this.#$(".delete").hidden = !record || !pane.mayWrite(record);
    const here = this.#people ? named(pane, this.#people.others) : [];
    const names = new Intl.ListFormat("en").format(here.map(({ name }) => name));
    this.#$(".here").textContent = here.length > 0 ? `${names} ${here.length > 1 ? "are" : "is"} here` : "";
    this.#$(".here").dataset.branch = here[0]?.branch ?? "";
  }

  /** Worded when it is drawn: the branches' names may come after the deletion. */
  get #deletedBy() {
    if (!this.#deletion) return this.#history.deletedBy || "Somebody";
    return this.#deletion.change ? this.#pane.authorOf(this.#deletion.change) : "You";
  }

  #changed(field, by, byBranch) {
    const entry = { by, byBranch };
    this.#recent.set(field, entry);
    this.#flashes.set(field, byBranch);
    setTimeout(() => {
      if (this.#recent.get(field) === entry) this.#recent.delete(field);
      this.#pane.draw();
    }, RECENT_MS);
  }

  /** What a field tells the page. Its record is the one that it was made for, whatever is open by then. */
  #ownerOf(client) {
    const { id } = this;
    const made = this.#collection;
    const { name: collection } = made;
    const { drafts } = client.offline;
    const page = this;
    return {
      get context() {
        return page.#pane.contextOf(page.#last);
      },
      get now() {
        return client.now();
      },
      get isWritable() {
        if (client !== page.#pane.client) return false; // somebody else is here by now; the draft stays its author's
        const record = page.#pane.recordOf(made, id);
        return record !== undefined && page.#pane.mayWrite(record);
      },
      entered: (field) => {
        this.#endEditing = this.#people?.edit(id, field) ?? (() => {});
        this.#pane.aim(id);
      },
      left: () => this.#endEditing(),
      keep: (field, draft) => void drafts.save(collection, id, field, draft).catch(() => {}),
      forget: (field) => void drafts.delete(collection, id, field).catch(() => {}),
      write: async (field, value, draft) => {
        const write = this.#pane.writes.update(id, { [field]: value }, made);
        this.#recent.delete(field);
        write.server.then(({ lost = [] }) => lost.some((each) => each.field === field) || this.#saved(id, field)).catch(() => {});
        await forgetOnceSafe(drafts, collection, id, field, draft, write);
      },
    };
  }

  #saved(id, field) {
    if (id === this.id) this.#recent.set(field, { by: "Saved", byBranch: "" });
    this.#pane.draw();
  }

  #bringBack() {
    const isMine = this.#deletion && !this.#deletion.change; // the history may not have what I wrote before it
    this.focus(); // the button goes
    this.#pane.writes.bringBack(this.#collection, isMine ? this.#last : (this.#history.lastRecord ?? this.#last));
  }

  #delete() {
    this.focus(); // the button goes
    this.#pane.writes.delete(this.id);
  }
}

/** People of a roster as `{name, first, branch}`, each once, without the one who looks. */
function named(pane, people) {
  const others = people.filter(({ user_id }) => user_id !== pane.client.principal?.user_id);
  const byUser = new Map(others.map((person) => [person.user_id, person]));
  return [...byUser.values()].map((person) => ({
    name: pane.authorOf({ actor: person }),
    first: person.name.split(" ")[0],
    branch: pane.page.branches.get(person.branch_id)?.slug ?? "all",
  }));
}
