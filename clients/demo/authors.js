/** Who people are, by their ids: from changes that they made, from a record's history, and by name alone from the list of people. And what a record was called that is gone. */

export class Authors {
  #client;
  #onKnown;
  #actors = new Map(); // by user id
  #names = new Map(); // by user id
  #learning = null;
  #called = new Map(); // by a record's collection and id
  #asked = new Set(); // records

  /** `onKnown()`: somebody is known who was not. */
  constructor(client, onKnown) {
    this.#client = client;
    this.#onKnown = onKnown;
    client.on("change", ({ actor }) => actor && this.#actors.set(actor.user_id, actor));
  }

  /** The actor of a record with this id, by name alone where its history does not tell; undefined while nothing is known. */
  find(user_id, collection, record_id) {
    if (!this.#actors.has(user_id)) void this.#ask(collection, record_id);
    const name = this.#names.get(user_id);
    return this.#actors.get(user_id) ?? (name && { user_id, name, branch_id: null });
  }

  /** What a record was called when it was deleted; undefined while that is not known. */
  calledOf(collection, record_id) {
    void this.#ask(collection, record_id);
    return this.#called.get(`${collection}/${record_id}`);
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

  async #ask(collection, record_id) {
    const key = `${collection}/${record_id}`;
    if (this.#asked.has(key)) return;
    this.#asked.add(key);
    try {
      const [{ items }] = await Promise.all([this.#client.request("GET", `/api/${key}/history?limit=50`), this.learn()]);
      for (const { actor } of items) if (actor) this.#actors.set(actor.user_id, actor);
      this.#called.set(key, items.find(({ record }) => record)?.record.name);
      this.#onKnown();
    } catch (error) {
      if (error.code !== "not_found") this.#asked.delete(key); // there was no answer; the next drawing asks again
    }
  }
}
