/** What the person of a pane writes: it shows at once, the library keeps and sends it, and each of it is a step that undo.js turns. */

import { COLLECTIONS, fieldsOf, startOf } from "./collections.js";
import { whenSafe } from "./line.js";

const UNKEPT = "This device has no room for what you write, or has lost what it kept. Leave this page open until “Saved” is shown.";

export class Writes {
  #pane;
  #undo;

  /** `pane` gives the client and the records; see pane.js. */
  constructor(pane, undo) {
    this.#pane = pane;
    this.#undo = undo;
  }

  /** `seen` is the version that was seen, if not the newest. */
  update(id, fields, collection = this.#pane.collection, seen = undefined) {
    const pane = this.#pane;
    pane.say("");
    const before = pane.recordOf(collection, id);
    const write = pane.client.update(collection.name, id, fields, { base_version: seen });
    this.#step({ kind: "changed", collection, before, record: { ...before, ...fields }, fields }, write);
    pane.aim(id);
    return write;
  }

  /** Done when the record cannot get lost any more. */
  create(given) {
    const { collection, client } = this.#pane;
    const fields = { ...startOf(collection), ...given };
    const write = client.insert(collection.name, fields);
    this.#step({ kind: "added", collection, record: fields, fields }, write);
    queueMicrotask(() => this.#pane.relist()); // it is added, whatever becomes of the drawing
    return whenSafe(write);
  }

  delete(id) {
    const { collection, client } = this.#pane;
    const before = this.#pane.recordOf(collection, id);
    this.#step({ kind: "removed", collection, before, record: before, fields: null }, client.delete(collection.name, id));
  }

  /** A deleted record, as it was. */
  bringBack(collection, record) {
    const fields = fieldsOf(record);
    const write = this.#pane.client.insert(collection.name, fields, { id: record.id });
    this.#step({ kind: "returned", collection, record, fields }, write);
  }

  /** My value instead of another's that has replaced it; or my deletion, which a change of somebody's has undone. */
  restore(loss) {
    const pane = this.#pane;
    const collection = COLLECTIONS[loss.collection];
    const before = pane.recordOf(collection, loss.record_id);
    const write = pane.client.restore(loss);
    if (!before) return this.#settle(collection, write); // with it, a deleted record comes back, of which nothing is known here
    const fields = loss.field === "*" ? null : { [loss.field]: loss.mine };
    this.#step({ kind: fields ? "changed" : "removed", collection, before, record: { ...before, ...fields }, fields }, write);
  }

  /** The other's value is right. Without a network the server tells of it another time. */
  dismiss(loss) {
    this.#pane.client.dismiss(loss).catch(() => {});
  }

  /** An entry of the inbox, with these fields. */
  retry(entry, fields) {
    const pane = this.#pane;
    pane.say("");
    const writes = pane.client.retry(entry.id, fields);
    for (const write of writes) this.#settle(COLLECTIONS[entry.mutation.collection], write);
    if (entry.mutation.operation === "insert") pane.relist();
    pane.draw();
    return Promise.all(writes.map(whenSafe));
  }

  /** Makes a record so, or none with null, and is no step of its own. */
  put(collection, id, fields) {
    const { client } = this.#pane;
    const { name } = collection;
    if (!fields) return this.#settle(collection, client.delete(name, id));
    const isThere = this.#pane.recordOf(collection, id) !== undefined;
    return this.#settle(collection, isThere ? client.update(name, id, fields) : client.insert(name, fields, { id }));
  }

  #step(step, write) {
    this.#settle(step.collection, write);
    this.#undo.note({ ...step, id: write.id }, write);
  }

  #settle(collection, write) {
    const pane = this.#pane;
    const { client } = pane;
    const isHere = () => client === pane.client && collection;
    write.server.then(
      () => isHere() && pane.remember(collection, write.id, { by: "Saved", byBranch: "" }),
      () => {}, // it is in the inbox, and the pane has told so
    );
    write.local.catch(() => isHere() && pane.say(UNKEPT));
    return write;
  }
}
