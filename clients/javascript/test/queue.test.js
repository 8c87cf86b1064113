import assert from "node:assert/strict";
import { test } from "node:test";
import { tick } from "../src/clock.js";
import { Mirror } from "../src/mirror.js";
import { Queue, mutationBody, readResult } from "../src/queue.js";
import { parseSort } from "../src/ordering.js";
import { topicOf } from "../src/topic.js";
import { View, holds } from "../src/view.js";
import { random } from "./files.js";

/** @import { Mutation, Pending } from "../src/types.js" */

const CLIENT = "5b0f3c9e-7d7a-4d4e-8a39-2f6f0f6f7a10";
const AT = { epoch: "e", offset: 1 };
let count = 0;

/** @param {Partial<Mutation>} [more] @returns {Mutation} */
const mutation = (more = {}) => ({
  mutation_id: `m${++count}`,
  collection: "leads",
  id: "a",
  operation: "update",
  fields: { name: "x" },
  clock: tick("", 1_700_000_000_000 + count, CLIENT),
  made_at_ms: 0,
  offset_ms: 0,
  floor: "",
  ...more,
});

/** Adds writes that are kept. @param {Queue} queue @param {Partial<Mutation>[]} writes */
const add = (queue, ...writes) =>
  writes.map((each) => {
    const pending = queue.add(mutation(each));
    pending.stage = "queued";
    return pending;
  });

/** @param {Queue} queue */
const batch = (queue) => queue.nextBatch(1000, 900_000);
/** @param {Pending[]} pending */
const ids = (pending) => pending.map(({ mutation }) => mutation.mutation_id);
/** @param {Pending | undefined} pending @param {object} more @returns {any} */
const answer = (pending, more = {}) => ({ mutation_id: pending?.mutation.mutation_id, status: "applied", version: 2, ...more });

test("a write is sent only when it is kept", () => {
  const queue = new Queue();
  const pending = queue.add(mutation());
  assert.deepEqual(batch(queue), []);
  pending.stage = "queued";
  assert.deepEqual(batch(queue), [pending]);
  assert.deepEqual(batch(queue), [], "and once");
});

test("of one record one write is on its way, unless all of them merge", () => {
  const queue = new Queue();
  const [first, , other] = add(queue, {}, {}, { id: "b" });
  assert.deepEqual(batch(queue), [first, other]);
  const merging = new Queue();
  const three = add(merging, { mode: "merge" }, { mode: "merge" }, { mode: "strict" });
  assert.deepEqual(batch(merging), three.slice(0, 2));
});

test("a write that names a record which is still to be inserted goes with that insert, or after it", () => {
  const queue = new Queue();
  const insert = queue.add(mutation({ operation: "insert", id: "new" }));
  const [deal] = add(queue, { collection: "deals", id: "d", fields: { lead_id: "new" } });
  assert.deepEqual(batch(queue), []);
  insert.stage = "queued";
  assert.deepEqual(batch(queue), [insert, deal]);
});

test("writes that were stamped by another page go in a request of their own", () => {
  const queue = new Queue();
  const other = tick("", 1_700_000_000_000, "00000000-0000-4000-8000-000000000001");
  const [mine, theirs] = add(queue, {}, { id: "b", clock: other });
  assert.deepEqual(batch(queue), [mine]);
  assert.deepEqual(batch(queue), [theirs]);
});

test("a request has a limit of writes and of bytes, and one write always fits", () => {
  const queue = new Queue();
  const [large] = add(queue, { fields: { notes: "x".repeat(1_000_000) } }, { id: "b" });
  assert.deepEqual(batch(queue), [large]);
  const many = new Queue();
  add(many, ...Array.from({ length: 5 }, (_, i) => ({ id: `r${i}` })));
  assert.equal(many.nextBatch(3, 900_000).length, 3);
});

test("a refused write goes to the inbox with its value, and nothing else waits for it (N2)", () => {
  const queue = new Queue();
  const [bad, good, next] = add(queue, { fields: { nope: 1 } }, { id: "b" }, { fields: { phone: "1" } });
  const { inbox, gone } = queue.settle(batch(queue), [answer(bad, { status: "rejected", code: "invalid" }), answer(good)], AT, 5);
  assert.deepEqual(inbox.map(({ code, mutation }) => [code, mutation.fields]), [["invalid", { nope: 1 }]]);
  assert.deepEqual(gone, [bad?.mutation.mutation_id]);
  assert.deepEqual(batch(queue), [next]);
});

test("what was to follow a refused insert goes with it, and what names its record says so", () => {
  const queue = new Queue();
  const [insert, update] = add(queue, { operation: "insert", id: "n" }, { id: "n", fields: { phone: "1" } });
  const sent = batch(queue);
  const { inbox } = queue.settle(sent, [answer(insert, { status: "rejected", code: "invalid" })], AT, 5);
  assert.deepEqual(inbox.map(({ id, code }) => [id, code]), [
    [insert?.mutation.mutation_id, "invalid"],
    [update?.mutation.mutation_id, "refused_by_dependency"],
  ]);
  assert.deepEqual(inbox[1]?.depends_on, [insert?.mutation.mutation_id]);
  const [deal] = add(queue, { collection: "deals", id: "d", fields: { lead_id: "n" } });
  const [refused] = queue.settle(batch(queue), [answer(deal, { status: "rejected", code: "invalid" })], AT, 5).inbox;
  assert.deepEqual(refused?.depends_on, [insert?.mutation.mutation_id]);
});

test("an error of the server's own is tried five times, with the same content, and then it is the inbox", () => {
  const queue = new Queue();
  const [write] = add(queue, {});
  const content = JSON.stringify(mutationBody(/** @type {Pending} */ (write).mutation));
  for (let attempt = 1; attempt <= 5; attempt++) {
    const sent = batch(queue);
    assert.equal(JSON.stringify(mutationBody(/** @type {Pending} */ (sent[0]).mutation)), content);
    const { again, inbox } = queue.settle(sent, attempt % 2 ? [] : [answer(write, { status: "rejected", code: "internal" })], AT, 5);
    assert.equal(again, attempt < 5);
    assert.equal(inbox.length, attempt < 5 ? 0 : 1);
  }
});

test("on an answer the next write of the record has seen its version, if nobody else's lies between", () => {
  const queue = new Queue();
  const [first, second] = add(queue, { base_version: 3 }, { base_version: 3 });
  queue.settle(batch(queue), [answer(first, { version: 4, clock: first?.mutation.clock })], AT, 5);
  assert.equal(second?.mutation.base_version, 4);
  const other = new Queue();
  const [mine, next] = add(other, { base_version: 3 }, { base_version: 3 });
  other.settle(batch(other), [answer(mine, { version: 6 })], AT, 5);
  assert.equal(next?.mutation.base_version, 3, "versions 4 and 5 were not seen");
});

test("an answered write leaves the record's next one later than its effective clock", () => {
  const queue = new Queue();
  const [first, second] = add(queue, {}, {});
  const effective = tick("", 1_700_000_100_000, CLIENT);
  queue.settle(batch(queue), [answer(first, { clock: effective })], AT, 5);
  assert.ok(/** @type {Pending} */ (second).mutation.clock > effective);
});

test("one's own answered write counts as seen before the copy has it, unless somebody else's lies between", () => {
  const queue = new Queue();
  const [first] = add(queue, { base_version: 3 });
  assert.equal(queue.seenVersion("leads/a", 3), 3);
  queue.settle(batch(queue), [answer(first, { version: 4 })], AT, 5);
  assert.equal(queue.seenVersion("leads/a", 3), 4);
  assert.equal(queue.seenVersion("leads/a", 2), 2, "version 3 was not seen");
});

test("a duplicate is read as its first answer", () => {
  const first = { status: "merged", version: 7, lost: [{ field: "a" }] };
  const result = readResult({ mutation_id: "m", status: "duplicate", version: 9, first });
  assert.deepEqual([result.status, result.version, result.is_repeat, result.mutation_id], ["merged", 7, true, "m"]);
});

test("stamps move with the notion of time and keep their order, and never behind what was seen", () => {
  const queue = new Queue();
  const floor = tick("", 1_700_000_000_500, "00000000-0000-4000-8000-000000000001");
  const clocks = [1_700_000_001_000, 1_700_000_001_000, 1_700_000_001_001].map((ms) => tick("", ms, CLIENT));
  const all = add(queue, ...clocks.map((clock, i) => ({ id: `r${i}`, clock, floor })));
  assert.equal(queue.shiftClocks(-3_600_000).length, 3);
  const moved = all.map(({ mutation }) => mutation.clock);
  assert.deepEqual([...new Set(moved)].sort(), moved);
  assert.ok(moved.every((clock) => clock > floor));
});

// What is seen.

/** @param {string} [sort] */
const makeView = (sort = "name") => {
  const queue = new Queue();
  const mirror = new Mirror("leads");
  const view = new View(topicOf("leads", { where: { status: "new" } }), mirror, queue, parseSort(sort), () => ({ branch_id: "north" }));
  return { queue, mirror, view };
};
/** @param {number} offset */
const position = (offset) => ({ epoch: "e", offset, view: "v" });

test("a pending write shows on top of whatever the server's state becomes, until the copy holds it", () => {
  const { queue, mirror, view } = makeView();
  mirror.replace([["leads", { id: "a", version: 1, name: "Ada", phone: "1", status: "new" }]], position(1));
  view.refreshAll();
  const [write] = add(queue, { fields: { name: "Bea" } });
  view.refresh(["a"]);
  const change = /** @type {any} */ ({ offset: 2, collection: "leads", id: "a", operation: "update", version: 2, fields: { name: "Cy", phone: "2" } });
  view.refresh(mirror.advance([change], position(2))?.keys() ?? []);
  assert.deepEqual([view.visible.get("a")?.name, view.visible.get("a")?.phone], ["Bea", "2"], "rebased");
  queue.settle(batch(queue), [answer(write, { version: 3 })], { epoch: "e", offset: 3 }, 5);
  assert.deepEqual(view.refresh(["a"]), [], "no flicker between the answer and the delta");
  const own = { ...change, offset: 3, version: 3, fields: { name: "Bea" } };
  mirror.advance([own], position(3));
  assert.ok(holds(mirror, /** @type {Pending} */ (write)));
  assert.deepEqual(view.refresh(["a"]).map(({ fields }) => fields), [[]], "nothing to be seen but the version");
});

test("a write that a change has named is not shown on top any more, answered or not", () => {
  const { queue, mirror, view } = makeView();
  mirror.replace([["leads", { id: "a", version: 1, name: "Ada", status: "new" }]], position(1));
  const [write] = add(queue, { fields: { name: "Bea" } });
  const id = /** @type {Pending} */ (write).mutation.mutation_id;
  // Somebody else's came after it, both in one conflated change.
  const change = /** @type {any} */ ({ offset: 3, collection: "leads", id: "a", operation: "update", version: 3, fields: { name: "Cy" }, mutation_ids: [id] });
  mirror.advance([change], position(3));
  view.refreshAll();
  assert.equal(view.visible.get("a")?.name, "Bea");
  mirror.confirmed.add(id);
  view.refreshAll();
  assert.equal(view.visible.get("a")?.name, "Cy");
});

test("a refused write is undone", () => {
  const { queue, mirror, view } = makeView();
  mirror.replace([["leads", { id: "a", version: 1, name: "Ada", status: "new" }]], position(1));
  const [write] = add(queue, { fields: { name: "Bea" } });
  view.refreshAll();
  queue.settle(batch(queue), [answer(write, { status: "rejected", code: "invalid" })], AT, 5);
  view.refresh(["a"]);
  assert.equal(view.visible.get("a")?.name, "Ada");
});

test("an insert shows where its filter admits it, with the defaults of its author", () => {
  const { queue, view } = makeView();
  add(queue, { operation: "insert", id: "n", fields: { name: "Nia", status: "new" } }, { operation: "insert", id: "o", fields: { name: "Ola", status: "won" } });
  view.refreshAll();
  assert.deepEqual([...view.visible.values()], [
    { id: "n", version: 0, created_at: "1970-01-01T00:00:00.000000Z", name: "Nia", status: "new", branch_id: "north" },
  ]);
});

test("effects, applied in order to the list before, give the list after, whatever happens", () => {
  for (let seed = 1; seed <= 200; seed++) {
    const { below, pick, next } = random(seed);
    const { mirror, view } = makeView(pick(["name", "-name", "-n:numeric"]));
    let list = /** @type {string[]} */ ([]);
    let offset = 0;
    for (let turn = 0; turn < 40; turn++) {
      const changes = Array.from({ length: 1 + below(4) }, () => {
        const id = `r${below(12)}`;
        const held = mirror.records.get(id);
        const version = (held?.version ?? 0) + 1;
        const operation = held && next() < 0.3 ? "delete" : "insert";
        offset++;
        mirror.advance(
          [/** @type {any} */ ({ offset, collection: "leads", id, operation, version, fields: { id, version, name: pick(["a", "B", "é", null]), n: `${below(20)}.0` } })],
          position(offset),
        );
        return id;
      });
      for (const { id, index, previous_index } of view.refresh(changes)) {
        if (previous_index !== null) assert.equal(list.splice(previous_index, 1)[0], id, `seed ${seed}`);
        if (index !== null) list.splice(index, 0, id);
      }
      assert.deepEqual(list, view.ids, `seed ${seed}`);
      const anew = new View(view.spec, mirror, view.queue, view.sort, () => ({}));
      anew.refreshAll();
      assert.deepEqual(anew.ids, view.ids, `seed ${seed}`);
      for (const [index, id] of view.ids.entries()) assert.equal(view.indexOf(id), index);
    }
  }
});
