/** A live collection: a topic's records in order, kept up to date, with this person's own writes on top. */

import { parseSort } from "./ordering.js";
import { keyOfRecord } from "./queue.js";
import { callbacks } from "./signal.js";
import { View } from "./view.js";
import { BranchlineError } from "./errors.js";

/** @import { Change, Effect, LiveState, NameOf, RecordState, Record_, TopicSpec, Update } from "./types.js" */
/** @import { Session } from "./session.js" */
/** @import { Entry } from "./subscriptions.js" */

/** @template [R=Record_] */
export class LiveCollection {
  is_live = true;
  /**
   * `loading`: nothing is known yet. `stale`: true as of `position`; the rest is on its way, or there is no connection. `live`:
   * nothing is missing. `ended`: closed, or may not be read: `error` says why.
   * @type {LiveState}
   */
  state = "loading";
  /** @type {BranchlineError | null} */ error = null;
  #changes = /** @type {ReturnType<typeof callbacks<[Update<R>]>>} */ (callbacks());
  #states = /** @type {ReturnType<typeof callbacks<[LiveState]>>} */ (callbacks());
  /** @type {readonly R[] | null} */ #records = null;
  #session;
  #view;
  /** @type {Entry} */ #entry;

  /** @param {Session} session @param {TopicSpec} spec @param {string | readonly string[]} [sort] */
  constructor(session, spec, sort) {
    this.#session = session;
    const order = parseSort(sort);
    this.spec = spec;
    this.#entry = session.subscriptions.follow(spec, this);
    const { mirror, feed } = this.#entry;
    this.#view = new View(spec, mirror, session.writer.queue, order, session.defaults);
    session.lives.add(this);
    this.#view.refreshAll();
    if (mirror.position) this.state = feed.phase === "live" ? "live" : "stale";
  }

  /** Follows it no longer. What is shown stays as it was. */
  close() {
    if (!this.#session.lives.delete(this)) return;
    this.#session.subscriptions.unfollow(this.#entry, this);
    this.#setState("ended");
  }

  // Reading.

  /** The visible records, in order: the same array until something changes. @returns {readonly R[]} */
  get records() {
    return (this.#records ??= this.#view.ids.map((id) => /** @type {R} */ (this.#view.visible.get(id))));
  }

  get size() {
    return this.#view.ids.length;
  }

  /** A visible record. @param {string} id @returns {R | undefined} */
  get(id) {
    return /** @type {R | undefined} */ (this.#view.visible.get(id));
  }

  /** A record's place in the order, null if it has none. @param {string} id */
  indexOf(id) {
    return this.#view.indexOf(id);
  }

  /** A record as the server has it, without this person's pending writes. @param {string} id @returns {R | undefined} */
  serverRecord(id) {
    return /** @type {R | undefined} */ (this.#entry.mirror.records.get(id));
  }

  /** Up to where the server's state is held. */
  get position() {
    return this.#entry.mirror.position;
  }

  /**
   * Saved; saving (kept on this device, and on its way); local (not kept yet); or in the inbox, to be reviewed.
   * @param {string} id
   * @param {NameOf<R>} [field] only writes of this field
   * @returns {RecordState}
   */
  stateOf(id, field) {
    const { writer } = this.#session;
    const key = keyOfRecord({ collection: this.spec.collection, id });
    const concerns = (/** @type {import("./types.js").Mutation} */ { fields }) => !field || field in fields;
    const writes = writer.queue.ofRecord(key).filter(({ mutation }) => concerns(mutation));
    if (writes.some((pending) => writer.isLocal(pending))) return "local";
    if (writes.some(({ stage }) => stage !== "answered")) return "saving";
    const inbox = [...writer.inbox.values()].some(({ mutation }) => keyOfRecord(mutation) === key && concerns(mutation));
    return inbox ? "needs-review" : "saved";
  }

  /** Calls back with each change of what is visible, or of the state of a visible write; gives what stops that. @param {(update: Update<R>) => void} fn */
  on(fn) {
    return this.#changes.on(fn);
  }

  /** Calls back with each new state; gives what stops that. @param {(state: LiveState) => void} fn */
  onState(fn) {
    return this.#states.on(fn);
  }

  /** For `useSyncExternalStore` and its like: calls back when anything is new; gives what stops that. @param {() => void} fn */
  subscribe = (fn) => {
    const stops = [this.on(() => fn()), this.onState(() => fn())];
    return () => stops.forEach((stop) => stop());
  };

  /**
   * Waits until a condition holds, by default until nothing is missing. Raises `closed` or the server's code if it ends before.
   * @param {(live: this) => unknown} [condition]
   * @returns {Promise<this>}
   */
  ready(condition = () => this.state === "live") {
    return new Promise((resolve, reject) => {
      const look = () => {
        const isOver = this.state === "ended";
        if (!isOver && !condition(this)) return;
        stop();
        if (condition(this)) resolve(this);
        else reject(this.error ?? new BranchlineError("closed", `${this.spec.topic} was closed`));
      };
      const stop = this.subscribe(look);
      look();
    });
  }

  // What the connection tells it.

  replaced() {
    this.#tell(this.#view.refreshAll(), true);
    if (this.state === "loading") this.#setState("stale");
  }

  /** @param {Change[]} changes @param {Map<string, Change>} touched */
  advanced(changes, touched) {
    // What the answers settled is decided by the position, too.
    this.#tell(this.#view.refresh([...touched.keys(), ...this.#view.queue.idsOf(this.spec.collection)], touched));
  }

  went_live() {
    this.#setState("live");
  }

  interrupted() {
    if (this.state === "live") this.#setState("stale");
  }

  /** @param {string} code @param {string} message */
  ended(code, message) {
    this.error = new BranchlineError(code, message);
    this.#setState("ended");
  }

  /** Forgets all: access was lost. */
  purged() {
    this.#tell(this.#view.refreshAll(), true);
    this.#setState("loading");
  }

  /** Looks again at records whose pending writes have changed. @param {Iterable<string>} ids */
  touched(ids) {
    // The words of state at a field may be new, even if its value is not.
    this.#changes.tell({ effects: this.#refreshed(this.#view.refresh(ids)), is_reset: false });
  }

  /** @param {Effect[]} effects @param {boolean} [is_reset] */
  #tell(effects, is_reset = false) {
    if (effects.length || is_reset) this.#changes.tell({ effects: this.#refreshed(effects), is_reset });
  }

  /** @param {Effect[]} effects */
  #refreshed(effects) {
    this.#records = null;
    return /** @type {Effect<any>[]} */ (effects);
  }

  /** @param {LiveState} state */
  #setState(state) {
    if (state === this.state || this.state === "ended") return;
    this.state = state;
    this.#states.tell(state);
  }
}
