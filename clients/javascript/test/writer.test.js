import assert from "node:assert/strict";
import { test } from "node:test";
import { Writer } from "../src/writer.js";

/** @import { Changes, Kept, Store } from "../src/types.js" */

/** A store of a device that is full until it is told otherwise. */
class FullStore {
  is_durable = true;
  isFull = true;
  /** @returns {Promise<Kept>} */
  load = () => Promise.reject(new Error("not asked for"));
  bind = async () => {};
  async keep() {
    if (this.isFull) throw new DOMException("The quota has been exceeded.", "QuotaExceededError");
  }
}

/** @param {Store} store */
const makeWriter = (store) => new Writer(store, 5, "01900000-0000-7000-8000-000000000001");

test("a write that this device cannot keep is shown and sent from memory, and its author is told", async () => {
  const writer = makeWriter(new FullStore());
  /** @type {Changes[]} */ const told = [];
  writer.onChanges = (changes) => told.push(changes);
  const write = writer.write("update", "leads", "a", { notes: "long" });
  await assert.rejects(write.local, { code: "store_failed" });
  const [pending] = writer.queue.ofRecord("leads/a");
  assert.ok(pending);
  assert.ok(writer.isLocal(pending), "it is not said to be on this device");
  assert.deepEqual(told.map(({ put }) => put?.[0]?.mutation.mutation_id), [write.mutation_id], "the tab that sends knows of it");
  const sent = writer.queue.nextBatch(10, 1_000_000);
  assert.deepEqual(sent, [pending]);
  const answer = /** @type {const} */ ({ mutation_id: write.mutation_id, status: "applied", version: 2 });
  await writer.settle({ results: [answer], gone: [write.mutation_id] });
  assert.equal((await write.server).version, 2);
});

test("a write that could not be kept counts as kept once the device could keep something after it", async () => {
  const store = new FullStore();
  const writer = makeWriter(store);
  await writer.write("update", "leads", "a", { notes: "1" }).local.catch(() => {});
  store.isFull = false;
  await writer.write("update", "leads", "a", { notes: "2" }).local;
  assert.deepEqual(writer.queue.ofRecord("leads/a").map((pending) => writer.isLocal(pending)), [false, false]);
});

test("an entry of the inbox that is tried again where nothing can be kept is not lost", async () => {
  const writer = makeWriter(new FullStore());
  const write = writer.write("update", "leads", "a", { status: "odd" });
  await write.local.catch(() => {});
  const [pending] = writer.queue.nextBatch(10, 1_000_000);
  assert.ok(pending);
  const refusal = { mutation_id: write.mutation_id, status: /** @type {const} */ ("rejected"), code: "invalid" };
  const { again, ...changes } = writer.queue.settle([pending], [refusal], { epoch: "e", offset: 1 }, 0);
  await writer.settle(changes);
  const [repeat] = writer.retry(write.mutation_id, { status: "won" });
  await assert.rejects(/** @type {NonNullable<typeof repeat>} */ (repeat).local, { code: "store_failed" });
  assert.deepEqual(writer.queue.nextBatch(10, 1_000_000).map(({ mutation }) => mutation.fields), [{ status: "won" }]);
});
