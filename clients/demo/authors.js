/** Who people are, by their ids: from changes that they made, and from a record's history where nothing else tells. */

export class Authors {
  #client;
  #onKnown;
  #actors = new Map(); // by user id
  #asked = new Set(); // records

  /** `onKnown()`: somebody is known who was not. */
  constructor(client, onKnown) {
    this.#client = client;
    this.#onKnown = onKnown;
    client.on("change", ({ actor }) => actor && this.#actors.set(actor.user_id, actor));
  }

  /** The actor of a record with this id; undefined while it is not known. */
  find(user_id, collection, record_id) {
    if (!this.#actors.has(user_id)) void this.#ask(`/api/${collection}/${record_id}/history?limit=50`);
    return this.#actors.get(user_id);
  }

  async #ask(path) {
    if (this.#asked.has(path)) return;
    this.#asked.add(path);
    try {
      const { items } = await this.#client.request("GET", path);
      for (const { actor } of items) if (actor) this.#actors.set(actor.user_id, actor);
      this.#onKnown();
    } catch {
      this.#asked.delete(path); // there was no answer; the next drawing asks again
    }
  }
}
