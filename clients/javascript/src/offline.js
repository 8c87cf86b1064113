/**
 * What outlives the page: a durable queue and inbox, a cache, drafts; and one connection for all tabs of a person.
 *
 * Locks, channels and databases are named by server, organisation and person, so two people in two panes of one page are two.
 */

import { deleteDB } from "idb";
import { Database } from "./database.js";
import { Drafts } from "./drafts.js";
import { Tabs } from "./tabs.js";

/** @import { CachedTopic, Changes, Fact, Pending, Record_, Store, TopicChanges } from "./types.js" */
/** @import { Entry } from "./subscriptions.js" */
/** @import { Session } from "./session.js" */

/**
 * `as`: which person of this page it is, where a page is several people's; whatever tells them apart. `sensitive`: collections that
 * lie on the disk only encrypted. `max_records`: how many the cache holds.
 * @typedef {{ as?: string, sensitive?: readonly string[], max_records?: number }} OfflineOptions
 */

const FLUSH_MS = 300;
const LOOK_ROUND_MS = 10_000;

/** Gives what `connect` takes as `offline`. One client, one of these. @param {OfflineOptions} [options] */
export const offline = (options = {}) => new Offline(options);

export class Offline {
  /** What this browser cannot do here, in words; empty if it can do everything. @type {string[]} */
  notes = [];
  /** Whether all that was written outlives the page. Not while this device cannot keep it; so again when it can. */
  isDurable = false;
  /** @type {Store} */
  store = {
    is_durable: true,
    load: () => Promise.reject(new Error("loaded by offline()")),
    keep: async (changes) => {
      const database = await this.#opened;
      if (!database) return;
      this.isDurable = await database.keep(changes).then(
        () => true,
        (error) => {
          this.isDurable = false;
          throw error;
        },
      );
    },
  };
  /** What a person has typed and not yet written. */
  drafts = new Drafts(() => this.#opened);
  /** @type {Promise<Database | null>} */ #opened;
  /** @type {(database: Database | null) => void} */ #open = () => {};
  #options;
  /** @type {Session} */ #session = /** @type {any} */ (null);
  /** @type {Tabs | null} */ #tabs = null;
  #name = "";
  #isOpening = false;
  /** @type {Map<Entry, Set<string> | null>} Records that the cache lacks; null: all. */ #dirty = new Map();
  /** @type {any} */ #flushing;
  /** @type {any} */ #looking;
  #leave = () => this.#tabs?.post({ type: "bye" });

  /** @param {OfflineOptions} options */
  constructor(options) {
    this.#options = options;
    this.#opened = new Promise((resolve) => (this.#open = resolve));
  }

  /** Whether a write is kept where it outlives the page. @param {Pending} pending */
  keeps({ stage, mutation }) {
    return stage !== "local" && this.isDurable && this.#mayKeep(mutation.collection);
  }

  /**
   * Imports what an older program has left in `localStorage`; see `old_data.js`, which is fetched only for this.
   * @param {import("./old_data.js").Mapping} mapping
   * @param {(progress: import("./old_data.js").Progress) => void} [onProgress]
   */
  async import(mapping, onProgress) {
    const { importOldData } = await import("./old_data.js");
    return importOldData(this.#session, mapping, onProgress);
  }

  // For the session.

  /** @param {Session} session */
  attach(session) {
    this.#session = session;
    session.writer.onChanges = (changes) => this.post({ type: "changes", changes });
    session.subscriptions.onFacts = this.#after(session.subscriptions.onFacts, (entry, facts) => this.#facts(entry, facts));
    session.subscriptions.onFollow = (entry, isOver) => {
      if (!isOver) return this.#fetch(entry);
      this.#dirty.delete(entry);
      if (!session.leads) this.post({ type: "unfollow", topic: entry.spec.topic });
    };
    globalThis.window?.addEventListener("pagehide", this.#leave);
  }

  start() {
    const key = this.#remembered;
    if (!key) return this.#session.lead();
    this.#session.leads = false;
    this.#session.bound = key;
    void this.#openFor(key);
  }

  /** Takes note of whose client it is. @param {string} key `<user id> <organisation id>` */
  signedIn(key) {
    this.#remembered = key;
    void this.#openFor(key);
  }

  /** Tells the other tabs, if there are some. @param {object} message */
  post(message) {
    this.#tabs?.post(message);
  }

  /** Takes the connection, whoever has it. */
  take() {
    this.#tabs?.take();
  }

  stateChanged() {
    const { state, reason, principal, connection_id, isPaused } = this.#session;
    this.post({ type: "lead", state, reason, principal, connection_id, isPaused });
  }

  /** Deletes copies: access was lost. @param {string[]} topics @param {string[]} collections */
  async forget(topics, collections) {
    for (const entry of this.#dirty.keys()) if (topics.includes(entry.spec.topic)) this.#dirty.delete(entry);
    await (await this.#opened)?.forget(topics, collections);
  }

  async close() {
    globalThis.window?.removeEventListener("pagehide", this.#leave);
    clearInterval(this.#looking);
    await this.#flush();
    this.#open(null);
    this.#tabs?.close();
    this.#tabs = null;
    await (await this.#opened)?.close();
  }

  /** Deletes all that is kept of this person. */
  async clear() {
    const name = this.#name;
    this.#remembered = "";
    if (!name) return;
    const others = new BroadcastChannel(name);
    others.postMessage({ type: "signed_out", from: "", term: 0 });
    others.close();
    await deleteDB(name);
  }

  // Opening.

  get #memo() {
    return `branchline ${this.#session.api.url} ${this.#options.as ?? ""}`;
  }

  // Where site data is blocked, merely asking for `localStorage` throws.

  get #remembered() {
    try {
      return globalThis.localStorage?.getItem(this.#memo) ?? "";
    } catch {
      return "";
    }
  }

  set #remembered(key) {
    try {
      if (key) globalThis.localStorage?.setItem(this.#memo, key);
      else globalThis.localStorage?.removeItem(this.#memo);
    } catch (error) {
      this.notes.push(`this browser does not remember whose page this is: ${error}`);
    }
  }

  /** @param {string} collection */
  #mayKeep(collection) {
    return !!globalThis.crypto?.subtle || !this.#options.sensitive?.includes(collection);
  }

  /** @param {string} key */
  async #openFor(key) {
    if (this.#isOpening) return;
    this.#isOpening = true;
    const session = this.#session;
    this.#name = `branchline ${new URL(session.api.url || "/", globalThis.location?.href ?? "http://localhost").origin} ${key}`;
    if (!globalThis.isSecureContext) this.notes.push("this page has no secure context: a connection a tab, and nothing sensitive is kept");
    try {
      const { sensitive = [], max_records: maxRecords = 50_000 } = this.#options;
      const lost = () => (this.isDurable = false);
      const database = new Database(this.#name, { sensitive, maxRecords, lost, reopened: () => this.#reopened() });
      await session.writer.load(async () => {
        const kept = await database.load();
        session.recall(kept);
        return kept;
      });
      this.isDurable = true;
      this.#open(database);
      void database.forgetUnused(Date.now()).catch(() => {}); // the next start does it
      void navigator.storage?.persist?.();
    } catch (error) {
      this.notes.push(`this browser keeps nothing: ${error}`);
      this.#open(null);
    }
    if (await Tabs.areSupported()) {
      this.#tabs = new Tabs(this.#name, session.writer.client_id, {
        lead: () => void this.#lead(),
        follow: () => this.#follow(),
        heard: (message, from) => this.#heard(message, from),
      });
    } else if (session.state === "idle") session.lead();
  }

  /** The database may be an empty one: what this page holds goes into it, of the cache what is followed. */
  #reopened() {
    const { writer, subscriptions, leads, isPaused } = this.#session;
    void this.store.keep({ ...writer.held(), is_paused: !!isPaused }).catch(() => {});
    for (const entry of leads ? subscriptions.entries.values() : []) if (entry.feed.first !== "now") this.#dirty.set(entry, null);
  }

  async #lead() {
    const session = this.#session;
    // What the last one that led has kept may be newer than what it told.
    const database = await this.#opened;
    try {
      if (database) await session.writer.load(() => database.load());
    } catch (error) {
      // One that was closed meanwhile has closed the database too.
      if (this.#tabs) console.error("branchline: what is kept on this device cannot be read:", error);
    }
    if (!this.#tabs?.leads) return;
    session.lead();
    this.stateChanged();
    clearInterval(this.#looking);
    this.#looking = setInterval(() => void this.#lookRound(), LOOK_ROUND_MS);
  }

  #follow() {
    clearInterval(this.#looking);
    this.#session.follow((entry) => this.#ask(entry));
    this.post({ type: "hello" });
  }

  /** Tabs that are gone without a word want nothing any more. */
  async #lookRound() {
    const present = await this.#tabs?.present();
    const { entries } = this.#session.subscriptions;
    for (const { wants } of [...entries.values()]) {
      for (const want of wants) if (present && typeof want === "string" && !present.has(want)) this.#left(want);
    }
  }

  /** @param {string} tab */
  #left(tab) {
    const { subscriptions } = this.#session;
    for (const entry of [...subscriptions.entries.values()]) {
      if (!entry.wants.has(tab)) continue;
      if (this.#session.leads && entry.presence) this.#session.announce(entry.spec.topic, null, tab);
      subscriptions.unfollow(entry, null, tab);
    }
  }

  // Between tabs.

  /** Asks the tab that leads for a topic. @param {Entry} entry */
  #ask({ spec, presence, feed, mirror }) {
    const is_live = feed.first !== "now";
    this.post({ type: "follow", spec, presence, is_live, position: is_live ? mirror.position : null });
  }

  /** @param {any} message @param {string} from */
  #heard(message, from) {
    const session = this.#session;
    const { type } = message;
    if (type === "changes") {
      void this.#opened.then((database) => database?.leave(message.changes));
      session.writer.take(message.changes);
    } else if (type === "signed_out") void this.#signedOut();
    else if (type === "pause") session.pause(message.isPaused, true);
    else if (session.leads) this.#asked(message, from);
    else if (from === this.#tabs?.leader) this.#told(message);
  }

  /** Somebody has signed out in another tab: what was kept is gone. */
  async #signedOut() {
    const session = this.#session;
    session.leads = true;
    session.connection.post("close");
    session.setState("idle", "signed out in another tab");
    // Before anything asks for it again.
    await (await this.#opened)?.close();
    await this.close();
    // The browser may have closed the database here before the word came, and this tab have made it again.
    if (this.#name) await deleteDB(this.#name);
  }

  /** Does for another tab what that needs the connection for. @param {any} message @param {string} tab */
  #asked(message, tab) {
    const session = this.#session;
    const { subscriptions } = session;
    const { type, topic, spec } = message;
    const entry = subscriptions.entries.get(topic);
    if (type === "hello") this.stateChanged();
    else if (type === "bye") this.#left(tab);
    else if (type === "unfollow" && entry) subscriptions.unfollow(entry, null, tab);
    else if (type === "announce") session.announce(topic, message.state, tab);
    else if (type === "send") session.post(message.message);
    else if (type === "wake") session.wake();
    else if (type === "follow") this.#serve(message, spec, tab);
  }

  /** @param {any} message @param {Entry["spec"]} spec @param {string} tab */
  #serve({ presence, is_live, position }, spec, tab) {
    const { subscriptions } = this.#session;
    const wasThere = subscriptions.entries.has(spec.topic);
    const entry = subscriptions.follow(spec, null, { want: tab, presence, is_live });
    const { mirror, feed } = entry;
    // The roster comes with the answer to a question only.
    if (wasThere && presence) subscriptions.ask(entry);
    const at = mirror.position;
    /** @type {Fact[]} */ const facts = [];
    if (is_live && at && (position?.epoch !== at.epoch || position.view !== at.view || position.offset < at.offset)) {
      facts.push({ type: "replaced", records: [...mirror.records.values()].map((record) => [mirror.collection, record]), position: at });
    }
    if (feed.phase === "live") facts.push({ type: "live" });
    if (facts.length) this.post({ type: "facts", topic: spec.topic, facts, to: tab });
  }

  /** Takes what the tab that leads has to say. @param {any} message */
  #told(message) {
    const session = this.#session;
    const { type, topic, facts, state, to } = message;
    const entry = session.subscriptions.entries.get(topic);
    if (type === "lead") this.#ledBy(message);
    else if (type === "present") session.present(topic, message.message);
    else if (type === "purge") session.forget(message.topics);
    else if (type === "facts" && entry && (!to || to === session.writer.client_id)) for (const fact of facts) this.#fact(entry, fact);
    else if (state) session.setState(state, message.reason);
  }

  /** @param {any} message */
  #ledBy({ state, reason, principal, connection_id, isPaused }) {
    const session = this.#session;
    session.principal = principal ?? session.principal;
    session.isPaused = isPaused;
    const isAnother = connection_id !== session.connection_id;
    session.connection_id = connection_id;
    const wasLive = session.state === "live" || session.state === "leaving";
    if (state !== session.state || reason !== session.reason) session.setState(state, reason);
    const isLive = state === "live" || state === "leaving";
    if (wasLive && !isLive) session.disconnected();
    // What is followed here is news to a tab that has only now begun to lead, or to connect.
    if (isAnother || (isLive && !wasLive)) session.subscriptions.connected();
    for (const { spec } of session.presences) if (isAnother) session.askRoster(spec.topic);
  }

  /** @param {Entry} entry @param {Fact} fact */
  #fact(entry, fact) {
    const { subscriptions } = this.#session;
    const { feed, mirror } = entry;
    if (fact.type === "advanced" && feed.first !== "now") {
      const own = mirror.position;
      if (!own || own.epoch !== fact.position.epoch || fact.from > own.offset) return this.#ask(entry);
      if (fact.position.offset <= own.offset) return;
      fact.changes = fact.changes.filter(({ offset }) => offset > own.offset);
    }
    if (fact.type === "replaced" || fact.type === "advanced") feed.position = fact.position;
    if (fact.type === "replaced") mirror.isSettled = true;
    if (fact.type === "live" || fact.type === "ended") feed.phase = fact.type;
    subscriptions.take(entry, [fact]);
  }

  // The cache.

  /** @param {Entry} entry @returns {Promise<CachedTopic | null>} */
  async #fetch({ feed, spec }) {
    if (feed.first === "now") return null;
    return (await this.#opened)?.fetch(spec.topic).catch(() => null) ?? null;
  }

  /** @param {Entry} entry @param {Fact[]} facts */
  #facts(entry, facts) {
    if (!this.#session.leads) return;
    const { spec, feed } = entry;
    const told = facts.filter(({ type }) => type !== "ask");
    if (entry.wants.size && told.length) this.post({ type: "facts", topic: spec.topic, facts: told });
    if (feed.first === "now") return;
    for (const fact of facts) {
      if (fact.type === "replaced") this.#dirty.set(entry, null);
      else if (fact.type === "advanced") this.#note(entry, fact);
    }
    this.#flushing ??= setTimeout(() => void this.#flush(), FLUSH_MS);
  }

  /** @param {Entry} entry @param {Extract<Fact, { type: "advanced" }>} fact */
  #note(entry, { changes }) {
    const ids = this.#dirty.get(entry);
    if (ids === null) return;
    const all = ids ?? new Set();
    for (const { id, collection } of changes) if (collection === entry.mirror.collection) all.add(id);
    this.#dirty.set(entry, all);
  }

  /** The cache may miss its newest changes, together with their position. */
  async #flush() {
    clearTimeout(this.#flushing);
    this.#flushing = null;
    const database = this.isDurable ? await this.#opened : null;
    // First, because all of it goes into one that was opened anew.
    const opened = await database?.open().catch(() => null);
    if (!database || !opened) return;
    const dirty = this.#dirty;
    this.#dirty = new Map();
    /** @type {Map<string, TopicChanges>} */ const topics = new Map();
    for (const [{ spec, mirror }, ids] of dirty) {
      const { position, records: held, collection } = mirror;
      if (!position) continue;
      /** @type {Map<string, Record_ | null>} */
      const records = ids ? new Map([...ids].map((id) => [id, held.get(id) ?? null])) : new Map(held);
      topics.set(spec.topic, { collection, position, is_whole: !ids, records });
    }
    if (!topics.size) return;
    try {
      await database.write(opened, topics);
    } catch {
      // All of it is to be written next time.
      for (const entry of dirty.keys()) this.#dirty.set(entry, null);
    }
  }

  /** @template {any[]} T @param {(...told: T) => void} first @param {(...told: T) => void} then */
  #after(first, then) {
    return (/** @type {T} */ ...told) => {
      // The facts go to the other tabs before what follows from them.
      then(...told);
      first(...told);
    };
  }
}


/**
 * Has the service worker open this page without a network; done when it holds the page's files. Nothing where there is no such thing.
 * @param {string} [url]
 */
export async function keepPage(url = new URL("./service-worker.js", import.meta.url).pathname) {
  if (!navigator.serviceWorker) return;
  await navigator.serviceWorker.register(url, { scope: "/", type: "module" });
  const { active } = await navigator.serviceWorker.ready;
  // What came through the worker is in its copy already. The page is kept without its filters, or a token in its address.
  const files = performance.getEntriesByType("resource").filter((file) => !(/** @type {PerformanceResourceTiming} */ (file).workerStart));
  const urls = [location.pathname, ...files.map(({ name }) => name)].filter((each) => {
    const { origin, pathname } = new URL(each, location.href);
    return origin === location.origin && !pathname.startsWith("/api/");
  });
  const { port1, port2 } = new MessageChannel();
  const kept = new Promise((resolve) => (port1.onmessage = resolve));
  active?.postMessage({ type: "keep", urls }, [port2]);
  await kept;
  port1.close();
}
