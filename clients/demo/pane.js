/** One person's half of the page: their login, their socket, their view of the records. */

import { COLLECTIONS, describe, fold, matches } from "./collections.js";
import { CreateForm } from "./create.js";
import { Feed } from "./feed.js";
import { Latency } from "./latency.js";
import { WindowedList } from "./list.js";
import { Live } from "./live.js";
import { PASSWORD, PEOPLE } from "./people.js";
import { Pill, WORDS } from "./pill.js";
import { Row } from "./row.js";
import { Session } from "./session.js";
import { Speaker } from "./speaker.js";
import { Spread } from "./spread.js";
import { Tabs } from "./tabs.js";
import { ageOf, sentence } from "./words.js";

const NOTICE_MS = 6_000;
const SPOKEN = ["live", "offline", "stopped"];
const template = document.getElementById("pane");

export class Pane {
  element = template.content.firstElementChild.cloneNode(true);
  collection = COLLECTIONS.leads;
  session;
  live = null;

  #page;
  #feeds = {};
  #latency = new Latency();
  #views = new Map(); // id → what its row shows, until something about it changes
  #shownIds = [];
  #gone = new Map(); // id → record: deleted, but still in its place because somebody points at the list
  #fresh = 0; // new records that are not shown yet for the same reason
  #orderChanged = true;
  #flashes = new Map(); // id → {fields, branch}, for the next frame
  #arrivals = []; // commit times of changes that the next frame shows
  #frame = 0;
  #renewTimer = 0;
  #noticeTimer = 0;
  #needle = "";

  #$ = (selector) => this.element.querySelector(selector);
  #list = new WindowedList(this.#$(".list"), { makeRow: (id) => new Row(this, id), onScroll: () => this.#draw() });
  #pill = new Pill(this.#$(".line"), { onPlug: () => this.#plug() });
  #speaker = new Speaker(this.#$(".unseen"));
  #spread = new Spread(this.#$(".spread"));
  #tabs = new Tabs(this.#$(".tabs"), Object.values(COLLECTIONS), (name) => this.#open(name));
  #form = new CreateForm(this.#$(".create"), this.#$(".new"), (fields) => this.#create(fields));

  /** `page` is `{gatewayUrl, branches, onAim, onLoaded, onChanged}`; see main.js. */
  constructor(page, email) {
    this.#page = page;
    this.#makePicker(email);
    this.#markCollection();
    this.#$(".search").addEventListener("input", ({ target }) => {
      this.#needle = fold(target.value.trim());
      this.#relist({ toTop: true });
    });
    this.#$(".fresh").addEventListener("click", () => this.#relist({ toTop: true }));
    this.#$(".notice button").addEventListener("click", () => (this.#$(".notice").hidden = true));
    this.#$(".ticker").addEventListener("click", () => this.#showLatest());
    this.#$(".list").addEventListener("pointerleave", () => this.#draw());
    this.#$(".list").addEventListener("focusout", () => this.#draw());
    document.addEventListener("visibilitychange", () => (this.#arrivals = [])); // nobody saw them come
    setInterval(() => (this.#views.clear(), this.#draw()), 60_000); // ages
    this.signIn(email);
  }

  // ── who ─────────────────────────────────────────────────────────────────────────────────────

  signIn(email) {
    this.signOut();
    const person = PEOPLE.find((each) => each.email === email);
    this.session = new Session(email, PASSWORD);
    this.element.setAttribute("aria-label", person.label);
    this.#$(".role").textContent = person.role;
    this.#$(".badge").textContent = person.label.split(" ").slice(0, 2).map((word) => word[0]).join("");
    this.#latency.clear();
    this.#speaker.hush();
    this.#say("");
    for (const name of Object.keys(this.#$(".ticker").dataset)) delete this.#$(".ticker").dataset[name];
    this.#$(".ticker").firstElementChild.textContent = "";
    this.live = new Live({
      url: this.#page.gatewayUrl,
      token: (options) => this.session.token(options),
      onState: () => this.#stateChanged(),
    });
    for (const collection of Object.values(COLLECTIONS)) {
      const feed = new Feed((effects, wasLive) => this.#arrived(collection, effects, wasLive));
      this.#feeds[collection.name] = feed;
      this.live.subscribe(collection.name, feed);
    }
    this.#relist({ toTop: true });
    this.live.start();
  }

  signOut() {
    clearTimeout(this.#renewTimer);
    this.live?.stop();
    this.session?.end();
    this.#flashes.clear();
    this.#arrivals = [];
  }

  #stateChanged() {
    if (SPOKEN.includes(this.live.state)) this.#speaker.say(WORDS[this.live.state], 1);
    if (this.live.state === "catching-up") {
      this.#markRights();
      this.#views.clear();
      this.#renewLater();
    }
    this.#draw();
  }

  /** A token runs out while the socket stays: the gateway is shown the next one in time. */
  #renewLater() {
    clearTimeout(this.#renewTimer);
    this.#renewTimer = setTimeout(async () => {
      try {
        this.live.renew(await this.session.token());
        this.#renewLater();
      } catch {
        // The gateway will close the socket, and the attempt to come back says what is wrong.
      }
    }, this.session.renewInMs);
  }

  /** The names of the branches have come. */
  branchesKnown() {
    this.#markRights();
    this.#views.clear();
    this.#draw();
  }

  /** What the person may do shows in their colour, and in what is offered. */
  #markRights() {
    const { branch_ids: own = null, role } = this.live.principal ?? {};
    const choices = [...this.#page.branches.values()].filter((branch) => own === null || own.includes(branch.id));
    this.#$(".badge").dataset.branch = own?.length === 1 ? (choices[0]?.slug ?? "") : "";
    this.#form.offer(role === "viewer" ? [] : choices);
  }

  #plug() {
    if (this.live.state === "stopped") this.live.start();
    else this.live.stop("The plug is out");
  }

  // ── what arrives ────────────────────────────────────────────────────────────────────────────

  get #feed() {
    return this.#feeds[this.collection.name];
  }

  #arrived(collection, effects, wasLive) {
    if (effects === null) {
      if (collection !== this.collection) return this.#draw();
      this.#relist({});
      return this.#page.onLoaded(this);
    }
    const feed = this.#feeds[collection.name];
    const told = [];
    for (const effect of effects) {
      const { kind, record, change, fields, mine } = effect;
      this.#views.delete(record.id);
      if (wasLive && !document.hidden) this.#arrivals.push(change.committed_at_ms);
      if (kind === "updated" && fields.length === 0 && !mine) continue; // written, and the same as before
      const branch = this.#page.branches.get(change.actor?.branch_id)?.slug ?? (change.actor ? "all" : "database");
      const entry = { by: mine ? "Saved" : this.#authorOf(change), byBranch: branch };
      feed.remember(record.id, entry, (id) => (this.#views.delete(id), this.#draw()));
      this.#page.onChanged(this, collection, record);
      if (!mine) told.push(effect);
      if (collection !== this.collection) continue;
      if (kind !== "removed" && !mine) this.#flashes.set(record.id, { fields, branch });
      if (kind === "inserted") this.#gone.delete(record.id);
      if (kind === "inserted" && matches(record, this.#needle)) this.#fresh += 1;
      if (kind === "removed") this.#gone.set(record.id, record);
      this.#orderChanged ||= kind !== "updated";
    }
    this.#tell(collection, told, wasLive);
    this.#draw();
  }

  #authorOf({ actor }) {
    if (!actor) return "SQL";
    if (actor.user_id === this.live.principal.user_id) return "You";
    const first = actor.name.split(" ")[0];
    const branch = this.#page.branches.get(actor.branch_id)?.name;
    return branch ? `${first}, ${branch}` : first;
  }

  /** The last of these changes in words: at the foot of the pane, and aloud if it came live. */
  #tell(collection, effects, aloud) {
    if (effects.length === 0) return;
    const effect = effects.at(-1);
    const { by, byBranch } = this.#feeds[collection.name].recent.get(effect.record.id);
    const words = `${by} ${describe(collection, effect)}`;
    const ticker = this.#$(".ticker");
    Object.assign(ticker.dataset, { branch: byBranch, collection: collection.name, id: effect.record.id });
    ticker.firstElementChild.textContent = words;
    if (aloud) this.#speaker.say(words, effects.length);
  }

  #showLatest() {
    const { collection, id } = this.#$(".ticker").dataset;
    if (!id) return;
    this.#open(collection);
    this.#needle = this.#$(".search").value = "";
    this.#relist({});
    this.#list.scrollTo(id);
  }

  // ── what is written ─────────────────────────────────────────────────────────────────────────

  /** Shows the new values at once and sends them; a refusal is shown with its reason, and what was asked. */
  async write(id, fields) {
    const { collection } = this;
    const feed = this.#feed;
    const { session, live } = this;
    this.#say("");
    feed.expect(id, fields);
    this.#touch(id);
    this.aim(id);
    try {
      feed.confirm(await session.request("PATCH", `api/${collection.name}/${id}`, fields), live.state === "live");
    } catch (problem) {
      feed.refuse(id);
      const values = Object.values(fields).map((value) => `“${value}”`).join(", ");
      if (session === this.session) this.#say(`${values} was not saved. ${sentence(problem.message)}`);
    }
    this.#touch(id);
  }

  /** Answers whether the new lead is stored. */
  async #create(fields) {
    this.#say("");
    try {
      const record = await this.session.request("POST", "api/leads", fields);
      if (this.live.state !== "live") this.#feeds.leads.records.accept(record);
      this.#relist({ toTop: true });
      return true;
    } catch (problem) {
      this.#say(`“${fields.name}” was not saved. ${sentence(problem.message)}`);
      return false;
    }
  }

  explainRefusal(id) {
    const record = this.#feed.get(id);
    const branch = this.#page.branches.get(record.branch_id)?.name ?? "the whole organisation";
    const { name, role } = this.live.principal;
    const first = name.split(" ")[0];
    const why = role === "viewer" ? `${first} may read, not write.` : `${first} may not write to ${branch}.`;
    this.#say(why, { passing: true });
  }

  /** The terminal's lines are about this record. */
  aim(id) {
    const record = this.#feed.get(id);
    if (record && this.#mayWrite(record)) this.#page.onAim(this, this.collection, record);
  }

  /** At the newest record that this person may write to, until somebody points at another. */
  aimAtNewest() {
    const newest = this.#feed.records.ordered.find((record) => this.#mayWrite(record));
    if (newest) this.aim(newest.id);
  }

  #mayWrite(record) {
    const principal = this.live.principal;
    if (!principal || principal.role === "viewer") return false;
    return principal.branch_ids === null || principal.branch_ids.includes(record.branch_id);
  }

  #touch(id) {
    this.#views.delete(id);
    this.#draw();
  }

  /** What holds a value that was not saved stays until somebody has read it; what is `passing` goes by itself. */
  #say(text, { passing = false } = {}) {
    const notice = this.#$(".notice");
    clearTimeout(this.#noticeTimer);
    notice.hidden = text === "";
    notice.firstElementChild.textContent = text;
    if (passing) this.#noticeTimer = setTimeout(() => (notice.hidden = true), NOTICE_MS);
  }

  // ── what is shown ───────────────────────────────────────────────────────────────────────────

  /** What a row shows; the same object as long as nothing about it has changed. */
  viewOf(id) {
    if (!this.#views.has(id)) this.#views.set(id, this.#makeView(id));
    return this.#views.get(id);
  }

  #makeView(id) {
    const record = this.#feed.get(id) ?? this.#gone.get(id);
    const recent = this.#feed.recent.get(id);
    const saving = this.#feed.isPending(id);
    return {
      record,
      collection: this.collection,
      branch: this.#page.branches.get(record.branch_id)?.name ?? "All branches",
      by: saving ? "Saving" : (recent?.by ?? ageOf(record.created_at, this.live.clock.now())),
      byBranch: (!saving && recent?.byBranch) || "",
      writable: this.#mayWrite(record) && !this.#gone.has(id),
      gone: this.#gone.has(id),
      saving,
    };
  }

  #relist({ toTop = false }) {
    this.#fresh = 0;
    this.#gone.clear();
    this.#views.clear();
    this.#orderChanged = false;
    const records = this.#feed.records.ordered;
    const shown = this.#needle ? records.filter((record) => matches(record, this.#needle)) : records;
    this.#shownIds = shown.map((record) => record.id);
    this.#list.ids = this.#shownIds;
    if (toTop) this.#list.scrollTo(null);
    this.#draw();
  }

  /** Asks for a frame; all that happens until then is shown in it. */
  #draw() {
    this.#frame ||= requestAnimationFrame(() => this.#paint());
  }

  #paint() {
    if (this.#orderChanged && !this.#list.scrolled && !this.#list.inUse) this.#relist({});
    this.#frame = 0;
    this.#list.draw();
    for (const [id, { fields, branch }] of this.#flashes) this.#list.row(id)?.flash(fields, branch);
    this.#flashes.clear();
    this.#showCounts();
    this.#pill.show(this.live, this.#latency);
    if (this.#arrivals.length > 0) this.#measure(this.#arrivals.splice(0), this.live.clock);
  }

  /** A message posted in a frame is handled once that frame has been painted. */
  #measure(commits, clock) {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      for (const committedAt of commits) this.#latency.observe(clock.now() - committedAt);
      this.#pill.show(this.live, this.#latency);
      port1.close();
    };
    port2.postMessage(null);
  }

  #showCounts() {
    for (const [name, { loaded, records }] of Object.entries(this.#feeds)) {
      this.#tabs.count(name, loaded ? records.size.toLocaleString("en") : "");
    }
    const { records, loaded } = this.#feed;
    this.#spread.show(records.ordered, this.collection);
    const fresh = this.#$(".fresh");
    fresh.hidden = this.#fresh === 0;
    fresh.textContent = `${this.#fresh} new`;
    const empty = this.#$(".empty");
    empty.hidden = this.#shownIds.length > 0;
    const nothing = this.#needle ? "Nothing by that name." : `No ${this.collection.name} that this person may read.`;
    empty.textContent = loaded ? nothing : "Fetching the records";
  }

  // ── the fixed parts ─────────────────────────────────────────────────────────────────────────

  #makePicker(email) {
    const picker = this.#$(".picker");
    for (const person of PEOPLE) picker.add(new Option(person.label, person.email));
    picker.value = email;
    picker.addEventListener("change", () => this.signIn(picker.value));
  }

  #open(name) {
    if (this.collection.name === name) return;
    this.collection = COLLECTIONS[name];
    this.#markCollection();
    this.#relist({ toTop: true });
  }

  #markCollection() {
    this.#tabs.select(this.collection.name);
    this.#$(".list").setAttribute("aria-label", this.collection.title);
    this.#form.enabled = this.collection.name === "leads";
  }
}
