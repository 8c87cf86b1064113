/** Who people are, by their ids: from changes that they made, from a record's history, and by name alone from the list of people. */

export class Authors {
  #client;
  #onKnown;
  #actors = new Map(); // by user id
  #names = new Map(); // by user id
  #learning = null;
  #asked = new Set(); // records

  /** `onKnown()`: somebody is known who was not. */
  constructor(client, onKnown) {
    this.#client = client;
    this.#onKnown = onKnown;
    client.on("change", ({ actor }) => actor && this.#actors.set(actor.user_id, actor));
  }

  /** The actor of a record with this id, by name alone where its history does not tell; undefined while nothing is known. */
  find(user_id, collection, record_id) {
    if (!this.#actors.has(user_id)) void this.#ask(`/api/${collection}/${record_id}/history?limit=50`);
    const name = this.#names.get(user_id);
    return this.#actors.get(user_id) ?? (name && { user_id, name, branch_id: null });
  }

  /** What somebody is called, as far as that has been learnt and is this person's to know. */
  nameOf(user_id) {
    return this.#names.get(user_id);
  }

  /** Fetches everybody's name, once. Raises what the request raises. */
  learn() {
    this.#learning ??= this.#fetchNames().catch((error) => {
      this.#learning = null;
      throw error;
    });
    return this.#learning;
  }

  async #fetchNames() {
    for (let cursor = ""; cursor !== null; ) {
      const page = await this.#client.request("GET", `/api/people?limit=200${cursor && `&cursor=${cursor}`}`);
      for (const { id, name } of page.items) this.#names.set(id, name);
      cursor = page.next_cursor;
    }
  }

  async #ask(path) {
    if (this.#asked.has(path)) return;
    this.#asked.add(path);
    try {
      const [{ items }] = await Promise.all([this.#client.request("GET", path), this.learn()]);
      for (const { actor } of items) if (actor) this.#actors.set(actor.user_id, actor);
      this.#onKnown();
    } catch {
      this.#asked.delete(path); // there was no answer; the next drawing asks again
    }
  }
}
