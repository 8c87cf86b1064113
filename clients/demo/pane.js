/** One person's half of the page: their login, their client, their view of the records. */

import { addressOf, correctAddress, readAddress, writeAddress } from "./address.js";
import { Authors } from "./authors.js";
import { Board } from "./board.js";
import { COLLECTIONS, FIRST_CURRENCY } from "./collections.js";
import { CreateForm } from "./create.js";
import { FormDraft } from "./drafts.js";
import { Feed } from "./feed.js";
import { Filters } from "./filters.js";
import { Inbox, reasonOf } from "./inbox.js";
import { Latency } from "./latency.js";
import { connectAs, lineOf, wordOf } from "./line.js";
import { Losses } from "./losses.js";
import { News } from "./news.js";
import { PASSWORD, PEOPLE } from "./people.js";
import { Pill } from "./pill.js";
import { RecordPage } from "./record.js";
import { Session } from "./session.js";
import { Spread } from "./spread.js";
import { Table } from "./table.js";
import { Tabs } from "./tabs.js";
import { Undo } from "./undo.js";
import { ViewSwitch } from "./view-switch.js";
import { Views } from "./views.js";
import { shortened } from "./words.js";
import { Writes } from "./writes.js";

const NOTICE_MS = 6_000;
const SPOKEN = { live: "Live", waiting: "Offline", polling: "Polling", stopped: "The server has ended this connection" };
const template = document.getElementById("pane");

export class Pane {
  element = template.content.firstElementChild.cloneNode(true);
  collection = COLLECTIONS.leads;
  session;
  client = null;
  authors;
  page;

  #side;
  #first; // whom an address without a person shows
  #feeds = {};
  #latency = new Latency();
  #arrivals = []; // changes that the next frame shows
  #frame = 0;
  #noticeTimer = 0;

  #$ = (selector) => this.element.querySelector(selector);
  filters = new Filters(this.element, (change) => this.#filtered(change));
  views = new Views(this);
  #table = new Table(this, this.element);
  #board = new Board(this, this.#$(".board"));
  #switch = new ViewSwitch(this.#$(".views"), (isBoard) => this.#showAs(isBoard));
  #isBoard = false;
  #news = new News(this.element, (collection, id) => this.showRecord(collection, id));
  #pill = new Pill(this.#$(".line"), { onSwitch: (isOffline) => this.#goOffline(isOffline) });
  #spread = new Spread(this.#$(".spread"), (state) => this.filters.toggleStatus(state));
  #tabs = new Tabs(this.#$(".tabs"), Object.values(COLLECTIONS), (name) => this.#open(name));
  #record = new RecordPage(this, this.#$(".record"));
  #inbox = new Inbox(this, { button: this.#$(".to-review"), panel: this.#$(".review") });
  #losses = new Losses(this, this.#$(".losses"));
  #undo = new Undo(this, this.#$(".undo"));
  writes = new Writes(this, this.#undo);
  #form = new CreateForm(this.#$(".create"), this.#$(".new"), {
    add: (fields) => this.writes.create(fields),
    draft: () => new FormDraft(this.client.offline.drafts, this.collection.name),
  });

  /** `page` is `{branches, onAim, onLoaded, onChanged, onDrawn}`, see main.js; `side` names the pane in the address. */
  constructor(page, side, email) {
    this.page = page;
    this.#side = side;
    this.#first = email;
    const shown = readAddress(side);
    this.#makePicker();
    this.#$(".notice .dismiss").addEventListener("click", () => this.say(""));
    document.addEventListener("visibilitychange", () => (this.#arrivals = [])); // nobody saw them come
    addEventListener("popstate", () => this.#restore(readAddress(side)));
    setInterval(() => this.#touch(), 60_000); // ages
    this.#takeAddress(shown);
    this.signIn(this.#personOf(shown));
    this.#correctAddress();
  }

  // ── who ─────────────────────────────────────────────────────────────────────────────────────

  signIn(email) {
    this.#signOut();
    const person = PEOPLE.find((each) => each.email === email);
    this.session = new Session(email, PASSWORD);
    this.client = connectAs(this.session);
    this.client.on("state", (state, reason) => this.#stateChanged(state, reason));
    this.client.on("writes", () => this.#touch());
    this.client.on("refused", (entry) => this.#refused(entry));
    this.client.on("lost", (loss) => this.#news.say(this.#losses.describe(loss)));
    this.authors = new Authors(this.client, () => this.draw());
    this.client.on("purge", () => this.say(`${person.label.split(" ")[0]} may not read all of this any more.`));
    for (const collection of Object.values(COLLECTIONS)) {
      const sort = collection === this.collection ? this.filters.sort : Object.keys(collection.sorts)[0];
      const took = (effects, wasLive) => this.#arrived(collection, effects, wasLive);
      this.#feeds[collection.name] = new Feed(this.client, collection.name, sort, took);
    }
    this.element.setAttribute("aria-label", person.label);
    this.#$(".picker").value = email;
    this.#$(".role").textContent = person.role;
    this.#$(".badge").textContent = person.label.split(" ").slice(0, 2).map((word) => word[0]).join("");
    this.#markRights();
    this.#sheet.relist({ toTop: true });
    this.#record.begin();
    this.draw();
  }

  #signOut() {
    this.#record.end();
    this.#form.clear();
    for (const feed of Object.values(this.#feeds)) feed.close();
    void this.client?.close();
    void this.session?.end();
    this.#arrivals = [];
    this.#latency.clear();
    this.#news.clear();
    this.#inbox.clear();
    this.#undo.clear();
    this.say("");
  }

  #stateChanged(state, reason) {
    if (state in SPOKEN && !this.client.isPaused) this.#news.say(SPOKEN[state]);
    this.#markRights();
    if (state === "live" || state === "polling") this.#record.connected();
    if (state === "stopped") this.say(`${SPOKEN.stopped}: ${reason}.`);
    this.#touch();
  }

  #goOffline(isOffline) {
    if (isOffline) this.client.pause();
    else this.client.resume();
    this.#touch();
  }

  /** The names of the branches have come. */
  branchesKnown() {
    this.filters.offer([...this.page.branches.values()]);
    this.#markRights();
    this.#sheet.relist();
    this.#correctAddress();
    this.draw();
  }

  /** What the person may do shows in their colour, and in what is offered. */
  #markRights() {
    const { branch_ids: own = null, role = "viewer" } = this.client.principal ?? {};
    const choices = [...this.page.branches.values()].filter((branch) => own === null || own.includes(branch.id));
    this.#$(".badge").dataset.branch = own?.length === 1 ? (choices[0]?.slug ?? "") : "";
    const mayAdd = role !== "viewer" && this.client.state !== "stopped";
    this.#form.offer(mayAdd ? choices : []);
  }

  mayWrite(record) {
    const { principal } = this.client;
    if (!principal || principal.role === "viewer") return false;
    return principal.branch_ids === null || principal.branch_ids.includes(record.branch_id);
  }

  explainRefusal(id) {
    const record = this.feed.live.get(id);
    this.say(record ? this.reasonAgainstWriting(record) : `This ${this.collection.one} was deleted.`, { passing: true });
  }

  reasonAgainstWriting(record) {
    const branch = this.page.branches.get(record.branch_id)?.name ?? "the whole organisation";
    const { name, role } = this.client.principal ?? { name: "Nobody", role: "viewer" };
    const first = name.split(" ")[0];
    return role === "viewer" ? `${first} may read, not write.` : `${first} may not write to ${branch}.`;
  }

  // ── what arrives ────────────────────────────────────────────────────────────────────────────

  get feed() {
    return this.#feeds[this.collection.name];
  }

  #arrived(collection, effects, wasLive) {
    if (effects === null) {
      if (collection === this.collection) {
        this.#sheet.relist();
        this.#record.replaced();
        this.page.onLoaded(this);
      }
      return this.draw();
    }
    const others = effects.filter((effect) => this.#take(collection, effect, wasLive));
    if (others.length > 0) {
      const last = others.at(-1).id;
      this.#news.tell(collection, others, this.#feeds[collection.name].recent.get(last), wasLive);
    }
    this.draw();
  }

  /** Answers whether somebody else did it. */
  #take(collection, effect, wasLive) {
    const { id, kind, record, change, fields, mine } = effect;
    if (change && wasLive && !document.hidden) this.#arrivals.push(change);
    if (change) this.page.onChanged(this, collection, record);
    if (kind === "changed" && fields.length === 0 && !mine) return false; // written, and the same as before
    const byBranch = change ? this.branchSlugOf(change) : "";
    if (!mine) this.remember(collection, id, { by: this.authorOf(change), byBranch });
    if (collection === this.collection) {
      this.views.take(effect);
      this.#sheet.take(effect, byBranch);
      this.#record.take(effect, change ? this.authorOf(change) : "You", byBranch);
    }
    return !mine;
  }

  /** The last that became of a record, for a few seconds. */
  remember(collection, id, entry) {
    this.#feeds[collection.name].remember(id, entry, () => this.#touch(id));
    this.#touch(id);
  }

  /** Who did it: a change, or a version of the history. */
  authorOf({ actor }) {
    if (!actor) return "SQL";
    if (actor.user_id === this.client.principal?.user_id) return "You";
    const first = actor.name.split(" ")[0];
    const branch = this.page.branches.get(actor.branch_id)?.name;
    return branch ? `${first}, ${branch}` : first;
  }

  /** The branch in whose colour it shows. */
  branchSlugOf({ actor }) {
    return this.page.branches.get(actor?.branch_id)?.slug ?? (actor ? "all" : "database");
  }

  /** What it takes to word the values of a record. */
  contextOf(record) {
    const nameOf = (user_id) => this.authors.nameOf(user_id);
    return { branches: this.page.branches, currency: record?.currency ?? FIRST_CURRENCY, nameOf };
  }

  #refused(entry) {
    const { fields, operation } = entry.mutation;
    const values = Object.values(fields).map((value) => `“${shortened(value)}”`).join(", ");
    this.say(`${operation === "delete" ? "The deletion" : values} was not saved. ${reasonOf(entry)}`, { isRefusal: true });
  }

  /** The word about a record, or one of its fields, that is not as the server has it. */
  wordOf(id, field) {
    return wordOf(this.client, this.feed.live, id, field);
  }

  /** The terminal's lines are about this record. */
  aim(id) {
    const record = this.feed.live.get(id);
    if (record && this.mayWrite(record)) this.page.onAim(this, this.collection, record);
  }

  /** At the newest record that this person may write to, until somebody points at another. */
  aimAtNewest() {
    const newest = this.feed.live.records.find((record) => this.mayWrite(record));
    if (newest) this.aim(newest.id);
  }

  /** What holds a value that was not saved stays until somebody has read it; what is `passing` goes by itself. */
  say(text, { passing = false, isRefusal = false } = {}) {
    const notice = this.#$(".notice");
    clearTimeout(this.#noticeTimer);
    notice.hidden = text === "";
    notice.firstElementChild.textContent = text;
    notice.querySelector(".review-it")?.remove();
    if (isRefusal) notice.firstElementChild.after(this.#makeReviewLink());
    if (passing) this.#noticeTimer = setTimeout(() => (notice.hidden = true), NOTICE_MS);
  }

  #makeReviewLink() {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "review-it", textContent: "Review" });
    button.addEventListener("click", () => this.#inbox.open());
    return button;
  }

  // ── what is shown ───────────────────────────────────────────────────────────────────────────

  /** A visible record of any collection that is shown. */
  recordOf(collection, id) {
    return this.#feeds[collection?.name]?.live.get(id);
  }

  /** Whether the records of a collection are known. */
  isLoaded(collection) {
    return this.#feeds[collection?.name]?.loaded ?? false;
  }

  /** What it shows, in a word or two. */
  get title() {
    return this.#record.name || this.collection.title;
  }

  /** From the top, with all that is new. */
  relist() {
    this.#sheet.relist({ toTop: true });
    this.draw();
  }

  /** The list, or the board. */
  get #sheet() {
    return this.#isBoard ? this.#board : this.#table;
  }

  #touch(id) {
    this.views.touch(id);
    this.draw();
  }

  /** Asks for a frame; all that happens until then is shown in it. */
  draw() {
    this.#frame ||= requestAnimationFrame(() => this.#paint());
  }

  #paint() {
    this.#frame = 0;
    this.#sheet.draw();
    this.#record.draw();
    this.#inbox.draw();
    this.#losses.draw();
    for (const [name, { loaded, live }] of Object.entries(this.#feeds)) {
      this.#tabs.count(name, loaded ? live.size.toLocaleString("en") : "");
    }
    this.#spread.show(this.#counted(), this.collection, this.filters.status);
    this.#showLine();
    this.page.onDrawn();
    if (this.#arrivals.length > 0) this.#measure(this.#arrivals.splice(0), this.client);
  }

  #counted() {
    const { filters } = this;
    const { records } = this.feed.live;
    const isNarrow = filters.find || filters.branch;
    return isNarrow ? records.filter((record) => filters.admitsButState(record, this.page.branches)) : records;
  }

  #showLine() {
    const { client, feed } = this;
    const { pending, reason } = client;
    const line = lineOf(client, feed);
    this.#pill.show({ line, reason, pending, latency: this.#latency, position: feed.live.position });
  }

  /** A message posted in a frame is handled once that frame has been painted. */
  #measure(changes, client) {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      if (client !== this.client) return;
      for (const change of changes) {
        this.#latency.observe(client.now() - change.committed_at_ms);
        client.shown(change);
      }
      this.#showLine();
    };
    port2.postMessage(null);
  }

  // ── the fixed parts, and the address ────────────────────────────────────────────────────────

  #makePicker() {
    const picker = this.#$(".picker");
    for (const person of PEOPLE) picker.add(new Option(person.label, person.email));
    picker.addEventListener("change", () => {
      this.signIn(picker.value);
      this.#keepAddress(true);
    });
  }

  /** The record, whatever was looked for before. */
  showRecord(name, id) {
    this.#record.show("");
    this.#open(name);
    this.filters.restore(this.collection, { sort: this.filters.sort });
    this.#filtered({ isSort: false, isStep: true });
    this.#sheet.scrollTo(id);
  }

  /** Opens a record's own page, in place of the list. */
  openRecord(name, id) {
    const another = name === this.collection.name ? {} : { list: name, status: "", sort: "" };
    this.#takeAddress({ ...this.#shown, ...another, record: id });
    if (another.list) this.#filtered({ isSort: true, isStep: true });
    else this.#keepAddress(true);
    this.aim(id);
    this.draw();
    this.#record.focus();
  }

  /** Back to the list, as it was left. */
  closeRecord() {
    const { id } = this.#record;
    this.#record.show("");
    this.#keepAddress(true);
    this.#sheet.comeBack(id);
  }

  #open(name) {
    if (this.collection.name === name) return;
    this.#takeAddress({ ...this.#shown, list: name, status: "", sort: "", record: "" });
    this.#filtered({ isSort: true, isStep: true });
  }

  #showAs(isBoard) {
    this.#takeAddress({ ...this.#shown, view: isBoard ? "board" : "" });
    this.#filtered({ isSort: false, isStep: true });
  }

  #filtered({ isSort, isStep }) {
    if (isSort) this.feed.sort(this.filters.sort);
    this.#keepAddress(isStep);
    this.#sheet.relist({ toTop: true });
    this.draw();
  }

  get #shown() {
    const { find, branch, status, sort, isFirstSort } = this.filters;
    const list = this.collection === COLLECTIONS.leads ? "" : this.collection.name;
    const [view, order] = [this.#isBoard ? "board" : "", isFirstSort ? "" : sort];
    return { person: this.session?.email, list, view, branch, status, sort: order, find, record: this.#record.id };
  }

  #keepAddress(isStep) {
    writeAddress(this.#side, this.#shown, isStep);
    this.#link();
  }

  /** What nobody knows of it is not shown, and so not said. */
  #correctAddress() {
    correctAddress(this.#side, this.#shown);
    this.#link();
  }

  #link() {
    this.#$(".alone").href = addressOf(this.#side, this.#shown);
  }

  #personOf({ person }) {
    return PEOPLE.some(({ email }) => email === person) ? person : this.#first;
  }

  #takeAddress(shown) {
    this.collection = COLLECTIONS[shown.list] ?? COLLECTIONS.leads;
    this.filters.restore(this.collection, shown);
    this.#tabs.select(this.collection.name);
    this.#$(".grid").setAttribute("aria-label", this.collection.title);
    this.#form.show(this.collection);
    if (shown.record && !this.#record.isOpen) this.#sheet.leave();
    this.#isBoard = shown.view === "board" && Boolean(this.collection.hasBoard);
    this.#switch.show({ isOffered: this.collection.hasBoard, isBoard: this.#isBoard });
    this.element.classList.toggle("boarded", this.#isBoard);
    this.#$(".list-frame").hidden = this.#isBoard;
    this.#$(".board").hidden = !this.#isBoard;
    this.#record.show(shown.record);
  }

  #restore(shown) {
    const person = this.#personOf(shown);
    if (addressOf(this.#side, { ...shown, person }) === addressOf(this.#side, this.#shown)) return; // it was the other side's step
    const { id } = this.#record;
    this.#takeAddress(shown);
    if (person !== this.session.email) this.signIn(person);
    else {
      this.feed.sort(this.filters.sort);
      this.#sheet.relist({ toTop: !id });
      if (id && !shown.record) this.#sheet.comeBack(id);
      this.draw();
    }
    this.#link();
  }
}
