/** Presence, signals and editing leases on a topic. All of it is of the moment: nothing is stored. */

import { callbacks } from "./signal.js";

/** @import { Fields, Lease, NameOf, Person, Record_, RosterUpdate, SignalMessage, TopicSpec } from "./types.js" */
/** @import { Session } from "./session.js" */

/** Reads a person's entry; what is missing is null or empty, since a leaver's may be short. @param {any} data @returns {Person} */
const readPerson = ({ connection_id, user_id = "", name = "", branch_id = null, state = null, leases }) => ({
  connection_id,
  user_id,
  name,
  branch_id,
  state,
  leases: leases ?? (state?.record ? [state] : []),
});

/** PURE. The people on one topic, by connection. `count` is how many there are: at most 200 are named at first. */
export class Roster {
  /** @type {Map<string, Person>} */ people = new Map();
  count = 0;
  /** Whether the next news is the roster. */
  isFresh = true;

  /** @param {any} news @returns {RosterUpdate} */
  take({ joined, left, changed, count }) {
    const is_roster = this.isFresh || count != null;
    this.isFresh = false;
    if (is_roster) this.people = new Map();
    const [came, went, others] = [joined, left, changed].map((list = []) => /** @type {any[]} */ (list).map(readPerson));
    const update = { joined: came ?? [], left: went ?? [], changed: others ?? [], is_roster };
    for (const person of [...update.joined, ...update.changed]) this.people.set(person.connection_id, person);
    for (const { connection_id } of update.left) this.people.delete(connection_id);
    const delta = update.joined.length - update.left.length;
    this.count = is_roster ? (count ?? this.people.size) : Math.max(this.count + delta, this.people.size);
    return update;
  }
}

/**
 * Who is on a topic. Others are shown as long as this is open; oneself from the first `announce`.
 * @template [R=Record_]
 */
export class Presence {
  /** What was announced last. @type {Fields | null} */ state = null;
  roster = new Roster();
  #changes = /** @type {ReturnType<typeof callbacks<[RosterUpdate]>>} */ (callbacks());
  #signals = /** @type {ReturnType<typeof callbacks<[SignalMessage]>>} */ (callbacks());
  /** @type {readonly Person[] | null} */ #others = null;
  #session;
  #entry;

  /** @param {Session} session @param {TopicSpec} spec */
  constructor(session, spec) {
    this.#session = session;
    this.spec = spec;
    session.presences.add(this);
    this.#entry = session.subscriptions.follow(spec, null, { want: this, presence: true });
    session.askRoster(spec.topic);
  }

  /** Everybody who is named on the topic, oneself among them. */
  get people() {
    return [...this.roster.people.values()];
  }

  /** Everybody but this connection: the same array until somebody comes, goes or does something else. @returns {readonly Person[]} */
  get others() {
    return (this.#others ??= this.people.filter(({ connection_id }) => connection_id !== this.#session.connection_id));
  }

  /** Those others who edit a record, or one field of it. @param {string} record_id @param {NameOf<R>} [field] */
  editing(record_id, field) {
    return this.others.filter(({ leases }) => leases.some((lease) => lease.record === record_id && (!field || lease.field === field)));
  }

  /** Says what one does here, now and after each reconnection; null leaves. @param {Fields | null} state */
  announce(state) {
    this.state = state;
    this.#session.announce(this.spec.topic, state);
  }

  /** Holds an advisory lease: others see that one edits this field; gives what ends it. @param {string} record_id @param {NameOf<R>} field */
  edit(record_id, field) {
    const before = this.state;
    const version = this.#session.versionOf(this.spec.collection, record_id);
    /** @type {Lease} */ const lease = { record: record_id, field, ...(version ? { version } : {}) };
    this.announce(lease);
    return () => {
      if (this.state === lease) this.announce(before);
    };
  }

  /** Tells the others something. Whether there was a connection to tell it on: it is not sent later. @param {string} event @param {any} [payload] */
  signal(event, payload = null) {
    return this.#session.post({ type: "signal", topic: this.spec.topic, event, payload });
  }

  /** Calls back with each change; gives what stops that. @param {(update: RosterUpdate) => void} fn */
  on(fn) {
    return this.#changes.on(fn);
  }

  /** Calls back with each signal; gives what stops that. @param {(signal: SignalMessage) => void} fn */
  onSignal(fn) {
    return this.#signals.on(fn);
  }

  /** Leaves. */
  close() {
    if (!this.#session.presences.delete(this)) return;
    if (this.state) this.announce(null);
    this.#session.subscriptions.unfollow(this.#entry, null, this);
  }

  // What the connection tells it.

  /** @param {any} message */
  heard(message) {
    if (message.type === "signal") return this.#signals.tell(message);
    const update = this.roster.take(message);
    this.#others = null;
    this.#changes.tell(update);
  }

  /** Nobody can be seen. */
  interrupted() {
    this.roster.isFresh = true;
    if (this.roster.people.size) this.heard({ joined: [], left: [], changed: [], count: 0 });
    this.roster.isFresh = true;
  }
}
