/** One collection as one person sees it, by the client library, and what has lately happened to its records. */

const RECENT_MS = 6_000;

export class Feed {
  /** id → {by, byBranch}: who changed a record in the last seconds. */
  recent = new Map();
  live;

  #client;
  #name;
  #onUpdate;
  #stop = () => {};

  /** `onUpdate(effects, wasLive)` is told of what came; `effects` is null if everything is new. */
  constructor(client, name, sort, onUpdate) {
    this.#client = client;
    this.#name = name;
    this.#onUpdate = onUpdate;
    this.sort(sort);
  }

  /** Another order. The records are those that are here already. */
  sort(sort) {
    const [before, stop] = [this.live, this.#stop];
    this.live = this.#client.live(this.#name, { sort });
    const stops = [this.live.on((update) => this.#updated(update)), this.live.onState(() => this.#onUpdate([], false))];
    this.#stop = () => stops.forEach((each) => each());
    stop();
    before?.close();
  }

  get loaded() {
    return this.live.state !== "loading";
  }

  /** Keeps who changed a record for a few seconds, then calls `done`. */
  remember(id, entry, done) {
    clearTimeout(this.recent.get(id)?.timer);
    const timer = setTimeout(() => {
      this.recent.delete(id);
      done(id);
    }, RECENT_MS);
    this.recent.set(id, { ...entry, timer });
  }

  close() {
    this.#stop();
    this.live.close();
    for (const { timer } of this.recent.values()) clearTimeout(timer);
  }

  #updated({ effects, is_reset }) {
    this.#onUpdate(is_reset ? null : effects.map((effect) => this.#read(effect)), this.live.state === "live");
  }

  /** `mine`: a write of this window, which shows already, or its confirmation. */
  #read({ kind, id, before, after, index, previous_index, fields, change }) {
    const isConfirmed = fields.length === 0 || (kind === "changed" && change?.operation === "insert");
    const mine = !change || (isConfirmed && change.actor?.user_id === this.#client.principal?.user_id);
    return { kind, id, before, after, record: after ?? before, fields, change, mine, moved: index !== previous_index };
  }
}
