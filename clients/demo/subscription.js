/**
 * One topic of one connection: what it has reached, and whether what arrives joins on to it.
 * Pure: it neither sends nor waits. Its answers tell the connection what to do.
 */

export class Subscription {
  /** Where the topic stands: `{epoch, offset, view}`, or null before the first snapshot is whole. */
  position = null;
  /** The id of the last `subscribe` sent; answers to earlier ones are of no interest. */
  id = 0;
  /** Nothing is missing. */
  live = false;

  #canonical = null; // the topic as the server spells it, null while `subscribed` is awaited
  #view = null;
  #target = 0; // the head that the catch-up has to reach
  #records = []; // pages of a snapshot
  #changes = []; // pages of a large transaction

  constructor(topic, listener) {
    this.topic = topic;
    this.listener = listener;
  }

  /** The line broke or a gap showed: what is half received is worthless, the position stays. */
  interrupt() {
    this.live = false;
    this.#canonical = null;
    this.#records = [];
    this.#changes = [];
  }

  /** The position is worth nothing any more (another epoch, access lost): the next answer is a snapshot. */
  forget() {
    this.interrupt();
    this.position = null;
  }

  hears(topic) {
    return this.#canonical === topic;
  }

  subscribed({ topic, view, mode, epoch, offset }) {
    this.#canonical = topic;
    this.#view = view;
    this.#target = offset;
    if (mode === "snapshot") this.position = null;
    if (mode === "live") this.position = { epoch, offset, view };
    this.#settle();
  }

  snapshot({ records, last, epoch, offset }) {
    this.#records.push(...records);
    if (!last) return;
    this.position = { epoch, offset, view: this.#view };
    this.listener.replaced(this.#records);
    this.#records = [];
    this.#settle();
  }

  /** False if there is a gap between the topic's position and what this delta completes (I5). */
  delta({ epoch, from, to, changes, more }) {
    if (this.position === null || this.position.epoch !== epoch || from > this.position.offset) return false;
    this.#changes.push(...changes.filter((change) => change.offset > this.position.offset));
    if (more) return true;
    const wasLive = this.live;
    const arrived = this.#changes;
    this.#changes = [];
    this.#advance(to);
    if (arrived.length > 0) this.listener.changed(arrived, wasLive);
    return true;
  }

  /** Everything up to `offset` that concerns us has been sent. False if the log is another one now. */
  head({ epoch, offset }) {
    if (this.#canonical === null || this.position === null) return true;
    if (this.position.epoch !== epoch) return false;
    this.#advance(offset);
    return true;
  }

  #advance(offset) {
    this.position.offset = Math.max(this.position.offset, offset);
    this.#settle();
  }

  #settle() {
    this.live = this.position !== null && this.position.offset >= this.#target;
  }
}
