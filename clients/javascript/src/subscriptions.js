/**
 * Topics on the wire: which are followed, by whom here, and what has to be asked again.
 *
 * All who show a topic share its feed and its mirror, so whoever comes later has the records at once. Where another tab leads, its
 * facts are taken in place of the socket's.
 */

import { delayMs } from "./backoff.js";
import { Feed } from "./feed.js";
import { Mirror } from "./mirror.js";

/** @import { CachedTopic, Change, Fact, Listener, Position, TopicSpec } from "./types.js" */
/** @import { RetryPolicy } from "./backoff.js" */

/**
 * A topic that is followed. `wants`: who else follows it (presence, other tabs).
 * @typedef {{ spec: TopicSpec, feed: Feed, mirror: Mirror, listeners: Set<Listener>, wants: Set<any>, presence: boolean,
 *   heads: number, tries: number, timer?: any, isLoading: boolean }} Entry
 */

export class Subscriptions {
  /** By topic. @type {Map<string, Entry>} */ entries = new Map();
  /** Told of everything that arrives, after the listeners. @type {(entry: Entry, facts: Fact[]) => void} */ onFacts = () => {};
  /** Told of each topic that is followed anew, or no longer; gives what is kept of it. @type {(entry: Entry, isOver?: boolean) => Promise<CachedTopic | null> | void} */ onFollow = () => {};
  /** Told of each topic whose question has been answered. */
  /** @type {(entry: Entry) => void} */ onSubscribed = () => {};
  /** Told of all changes of a fact before anybody shows them. @type {(changes: Change[], entry: Entry) => void} */ onChanges = () => {};
  /** Where another tab leads: asks that one. @type {((entry: Entry) => void) | null} */ delegate = null;
  #lastId = 0;
  #send;
  #policy;

  /** @param {(message: object) => boolean} send says whether there was a live socket @param {RetryPolicy} policy */
  constructor(send, policy) {
    this.#send = send;
    this.#policy = policy;
  }

  /**
   * Follows a topic.
   * @param {TopicSpec} spec
   * @param {Listener | null} listener
   * @param {{ want?: any, presence?: boolean, is_live?: boolean }} [options] for whom; whether who is there is wanted, or the records
   * @returns {Entry}
   */
  follow(spec, listener, { want, presence = false, is_live = !!listener?.is_live } = {}) {
    let entry = this.entries.get(spec.topic);
    const isNew = !entry || entry.feed.phase === "ended";
    if (!entry) {
      const feed = new Feed(spec.collection === "*" ? "" : spec.collection, is_live ? null : "now");
      const mirror = new Mirror(spec.collection);
      entry = { spec, feed, mirror, listeners: new Set(), wants: new Set(), presence: false, heads: 0, tries: 0, isLoading: false };
      this.entries.set(spec.topic, entry);
    }
    if (listener) entry.listeners.add(listener);
    if (want) entry.wants.add(want);
    const needsSnapshot = is_live && entry.feed.first === "now";
    if (needsSnapshot) entry.feed.position = entry.feed.first = null;
    const needsPresence = presence && !entry.presence;
    if (presence) entry.presence = true;
    if (isNew) this.#load(entry);
    else if (needsSnapshot || needsPresence) this.ask(entry);
    return entry;
  }

  /** What is kept is shown while nothing newer is there, and the topic goes on from its position. @param {Entry} entry */
  #load(entry) {
    const loading = this.onFollow(entry);
    if (!loading) return this.ask(entry);
    entry.isLoading = true;
    void loading.then((cached) => {
      entry.isLoading = false;
      const { mirror, feed } = entry;
      if (cached && !mirror.position && feed.first !== "now") {
        mirror.replace(cached.records.map((record) => [mirror.collection, record]), cached.position);
        mirror.isSettled = true;
        feed.position = cached.position;
        this.#tell(entry, (listener) => listener.replaced());
      }
      if (this.entries.get(entry.spec.topic) === entry) this.ask(entry);
    });
  }

  /** Follows a topic no longer, unless somebody else does. @param {Entry} entry @param {Listener | null} listener @param {any} [want] */
  unfollow(entry, listener, want) {
    if (listener) entry.listeners.delete(listener);
    if (want) entry.wants.delete(want);
    if (entry.listeners.size || entry.wants.size || !this.entries.delete(entry.spec.topic)) return;
    clearTimeout(entry.timer);
    void this.onFollow(entry, true);
    const { canonical } = entry.feed;
    if (canonical && !this.of(canonical).length) this.#send({ type: "unsubscribe", id: ++this.#lastId, topic: canonical });
  }

  /** The entries of a topic as the server writes it. @param {string} canonical */
  of(canonical) {
    return [...this.entries.values()].filter(({ feed }) => feed.canonical === canonical);
  }

  // The socket.

  connected() {
    for (const entry of this.entries.values()) if (entry.feed.phase !== "ended") this.ask(entry);
  }

  disconnected() {
    for (const entry of this.entries.values()) {
      clearTimeout(entry.timer);
      entry.feed.disconnected();
      for (const listener of entry.listeners) listener.interrupted();
    }
  }

  /** Takes a message; says whether it was for a topic. @param {any} message */
  hear(message) {
    const { type, topic, id } = message;
    const entries =
      type === "head"
        ? [...this.entries.values()]
        : type === "subscribed" || type === "rejected"
          ? [...this.entries.values()].filter(({ feed }) => id != null && feed.request_id === id)
          : this.of(topic);
    for (const entry of entries) {
      if (type === "subscribed") entry.tries = 0;
      if (type === "snapshot") entry.heads = 0;
      this.take(entry, entry.feed.hear(message));
      // The gateway itself may have been behind the pages that it read: the second head is past them.
      if (type === "head" && ++entry.heads === 2) entry.mirror.isSettled = true;
      if (type === "subscribed") this.onSubscribed(entry);
    }
    return entries.length > 0;
  }

  /**
   * Takes what has come of a topic, from the socket, by HTTP, or from the tab that leads.
   * @param {Entry} entry
   * @param {Fact[]} facts
   */
  take(entry, facts) {
    const { mirror, feed } = entry;
    for (const fact of facts) {
      if (fact.type === "replaced") {
        mirror.replace(fact.records, fact.position);
        this.#tell(entry, (listener) => listener.replaced());
      } else if (fact.type === "advanced") {
        this.onChanges(fact.changes, entry);
        // Without a listener that shows records, there is nothing to keep.
        const isKept = feed.first !== "now";
        const touched = isKept ? mirror.advance(fact.changes, fact.position) : new Map();
        if (touched) this.#tell(entry, (listener) => listener.advanced(fact.changes, touched));
        else {
          feed.forget();
          this.ask(entry);
        }
      } else if (fact.type === "live") this.#tell(entry, (listener) => listener.went_live());
      else if (fact.type === "ended") this.#tell(entry, (listener) => listener.ended(fact.code, fact.message));
      else this.ask(entry, fact.later);
    }
    if (facts.length) this.onFacts(entry, facts);
  }

  /** Asks for a topic from where it stands. @param {Entry} entry @param {boolean} [isLater] */
  ask(entry, isLater) {
    clearTimeout(entry.timer);
    const { feed, spec, presence, isLoading } = entry;
    if (isLoading) return;
    if (this.delegate) return this.delegate(entry);
    if (isLater) {
      entry.timer = setTimeout(() => this.ask(entry), delayMs(this.#policy, ++entry.tries, Math.random()));
      return;
    }
    const id = this.#lastId + 1;
    const since = feed.since ?? undefined;
    if (!this.#send({ type: "subscribe", id, topic: spec.topic, since, presence: presence || undefined })) return;
    this.#lastId = id;
    feed.asked(id);
  }

  /** @param {Entry} entry @param {(listener: Listener) => void} tell */
  #tell({ listeners }, tell) {
    for (const listener of [...listeners]) tell(listener);
  }
}
