/**
 * PURE. One topic on one connection: what of it has arrived completely, and what has to be asked again.
 *
 *     idle ─▶ asked ─▶ snapshot ─▶ catching up ─▶ live        any ─▶ interrupted (asked again) or ended
 *                 └───────────────▲
 *
 * Messages go in, facts come out. A feed never moves its position over a range that it did not get whole (I5): a delta
 * whose `from` is above the position is a gap, and pages of a transaction count when the last has come.
 */

/** @import { Change, Fact, Position, Record_, Since } from "./types.js" */

export class Feed {
  /** @type {Position | null} */ position = null;
  /** The topic as the server writes it, while it is subscribed. @type {string | null} */
  canonical = null;
  /** The id of the last `subscribe`; answers to others count for nothing. @type {number | null} */
  request_id = null;
  /** @type {"idle" | "asked" | "snapshot" | "catching_up" | "live" | "ended"} */
  phase = "idle";
  #view = "";
  #target = 0;
  /** @type {[string, Record_][]} */ #records = [];
  /** Pages of a transaction, by offset: it may come again as a whole. @type {Map<number, Change>} */ #pages = new Map();
  #span = "";
  #progressed = true;

  /**
   * `collection` is what its records are of, "" for `*`; `first` is where it begins.
   * @param {string} collection
   * @param {Since} [first]
   */
  constructor(collection, first = null) {
    this.collection = collection;
    this.first = first;
    if (first && first !== "now") this.position = first;
  }

  /** From where to ask. @returns {Since} */
  get since() {
    return this.position ?? (this.first === "now" ? "now" : null);
  }

  /** Notes that it was asked for. @param {number} id */
  asked(id) {
    this.disconnected();
    this.request_id = id;
    this.phase = "asked";
  }

  /** What is half received is worthless, the position stays. */
  disconnected() {
    this.canonical = this.request_id = null;
    this.#records = [];
    this.#forgetPages();
    if (this.phase !== "ended") this.phase = "idle";
  }

  /** The position is worth nothing any more. Only a snapshot goes on from there: `now` would skip in silence. */
  forget() {
    if (this.position) this.position = this.first = null;
  }

  /**
   * Takes a message of this topic, or an answer to its question.
   * @param {any} message
   * @returns {Fact[]}
   */
  hear(message) {
    const { phase, position } = this;
    const isCurrent = (phase === "catching_up" || phase === "live") && position;
    switch (message.type) {
      case "subscribed":
        return message.id === this.request_id ? this.#subscribed(message) : [];
      case "snapshot":
        return phase === "snapshot" ? this.#page(message) : [];
      case "delta":
        if (phase === "snapshot") return this.#again("a delta came amid a snapshot");
        return isCurrent ? this.#delta(message, position) : [];
      case "head":
        if (!isCurrent) return [];
        if (message.epoch !== position.epoch) return this.#again("the log is another one");
        if (this.#span) return this.#again("the last page of a transaction did not come");
        return this.#advance(message.offset, [], false);
      case "unsubscribed":
        if (message.reason === "asked" || !this.canonical) return [];
        // What was seen may not be held any more; what may still be read is told by a snapshot.
        if (message.reason === "revoked") this.forget();
        this.disconnected();
        return [{ type: "ask", since: this.since, why: message.reason, later: false }];
      default:
        return message.id === this.request_id && phase === "asked" ? this.#rejected(message) : [];
    }
  }

  /**
   * Takes all records as of a position, fetched by HTTP; or begins there without any.
   * @param {[string, Record_][] | null} records
   * @param {Position} position
   * @returns {Fact[]}
   */
  fetched(records, position) {
    this.disconnected();
    this.position = position;
    this.phase = "live";
    this.#progressed = true;
    return records ? [{ type: "replaced", records, position }, { type: "live" }] : [this.#advanced([], position), { type: "live" }];
  }

  /**
   * Takes what was fetched after the position.
   * @param {any} delta
   * @returns {Fact[]}
   */
  pulled(delta) {
    if (this.phase === "idle" || this.phase === "asked") {
      this.disconnected();
      this.phase = "catching_up";
      this.#target = delta.to;
    }
    return this.hear({ ...delta, type: "delta", more: false });
  }

  /** @param {any} message @returns {Fact[]} */
  #subscribed({ topic, view, mode, epoch, offset }) {
    this.canonical = topic;
    this.#view = view;
    this.#target = offset;
    this.phase = mode === "snapshot" ? mode : "catching_up";
    if (mode === "snapshot") return [];
    if (this.position) return this.#settle();
    this.position = { epoch, offset, view };
    return [this.#advanced([], this.position), ...this.#settle()];
  }

  /** @param {any} message @returns {Fact[]} */
  #page({ collection, records, last, epoch, offset }) {
    for (const record of records) this.#records.push([collection ?? this.collection, record]);
    if (!last) return [];
    const all = this.#records;
    this.#records = [];
    this.position = { epoch, offset, view: this.#view };
    this.phase = "catching_up";
    this.#progressed = true;
    return [{ type: "replaced", records: all, position: this.position }, ...this.#settle()];
  }

  /** @param {any} delta @param {Position} position @returns {Fact[]} */
  #delta(delta, { epoch, offset }) {
    if (delta.epoch !== epoch) return this.#again("the log is another one");
    if (delta.from > offset) return this.#again(`offsets ${offset + 1} to ${delta.from} did not come`);
    const span = `${delta.from} ${delta.to}`;
    if (this.#span && this.#span !== span) return this.#again("the last page of a transaction did not come");
    for (const change of delta.changes) if (change.offset > offset) this.#pages.set(change.offset, change);
    if (delta.more) {
      this.#span = span;
      return [];
    }
    const changes = [...this.#pages.values()];
    this.#forgetPages();
    return this.#advance(delta.to, changes, !!delta.conflated);
  }

  /** @param {any} message @returns {Fact[]} */
  #rejected({ code, message, reaction }) {
    this.disconnected();
    if (reaction === "give_up") {
      this.phase = "ended";
      return [{ type: "ended", code, message }];
    }
    if (reaction === "resnapshot") this.forget();
    return [{ type: "ask", since: this.since, why: code, later: reaction !== "resnapshot" }];
  }

  /** @param {number} offset @param {Change[]} changes @param {boolean} conflated @returns {Fact[]} */
  #advance(offset, changes, conflated) {
    const before = /** @type {Position} */ (this.position);
    if (offset <= before.offset) return this.#settle();
    this.position = { ...before, offset };
    this.#progressed = true;
    return [this.#advanced(changes, this.position, before.offset, conflated), ...this.#settle()];
  }

  /** @param {Change[]} changes @param {Position} position @param {number} [from] @param {boolean} [conflated] @returns {Fact} */
  #advanced(changes, position, from = position.offset, conflated = false) {
    return { type: "advanced", changes, from, position, conflated };
  }

  /** @returns {Fact[]} */
  #settle() {
    if (this.phase !== "catching_up" || /** @type {Position} */ (this.position).offset < this.#target) return [];
    this.phase = "live";
    return [{ type: "live" }];
  }

  /** @param {string} why @returns {Fact[]} */
  #again(why) {
    // Asked from here before, and it led to the same gap: a snapshot does not depend on it.
    if (!this.#progressed) this.forget();
    this.#progressed = false;
    this.disconnected();
    return [{ type: "ask", since: this.since, why, later: false }];
  }

  #forgetPages() {
    this.#pages.clear();
    this.#span = "";
  }
}
