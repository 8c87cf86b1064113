import assert from "node:assert/strict";
import { test } from "node:test";
import { Feed } from "../src/feed.js";
import { Mirror } from "../src/mirror.js";
import { frames, random, readJson } from "./files.js";

/** @import { Fact } from "../src/types.js" */

/** @param {Fact} fact */
const factToJson = (fact) => {
  switch (fact.type) {
    case "replaced":
      return { replaced: fact.records.map(([, { id }]) => id), at: fact.position.offset };
    case "advanced":
      return { advanced: fact.changes.map(({ offset }) => offset), to: fact.position.offset };
    case "live":
      return { live: true };
    case "ask":
      return { ask: fact.since, ...(fact.later ? { later: true } : {}) };
    case "ended":
      return { ended: fact.code };
  }
};

for (const { name, since, steps } of readJson("tests/protocol/scenarios/feed.json")) {
  test(`scenario: ${name}`, () => {
    const feed = new Feed("leads", since);
    steps.forEach((/** @type {any} */ step, /** @type {number} */ number) => {
      if ("asked" in step) feed.asked(step.asked);
      else if ("disconnected" in step) {
        feed.disconnected();
        assert.deepEqual(feed.since, step.since, `step ${number}`);
      } else assert.deepEqual(feed.hear(step.down).map(factToJson), step.gives, `step ${number}`);
    });
  });
}

test("golden frames that come down are taken by a feed that asked for their topic", () => {
  const all = Object.fromEntries(frames("down"));
  const feed = new Feed("leads");
  feed.asked(all["subscribed-snapshot"].id);
  assert.deepEqual(feed.hear(all["subscribed-snapshot"]), []);
  assert.deepEqual(feed.hear({ ...all["snapshot"], last: false }), []);
  const [replaced, live] = feed.hear(all["snapshot-last"]);
  assert.equal(replaced?.type, "replaced");
  assert.equal(live?.type, "live");
  assert.equal(feed.position?.offset, 10008);
  const { from, to, changes } = all["delta-update"];
  feed.hear({ ...all["delta-empty"], from: 10008, to: from });
  const [advanced] = feed.hear(all["delta-update"]);
  assert.ok(advanced?.type === "advanced");
  assert.deepEqual(advanced.changes, changes);
  assert.equal(feed.position?.offset, to);
});

test("whatever is lost, torn or repeated on the way, a mirror ends as the server's state and never passes a gap (I5)", () => {
  for (let seed = 1; seed <= 300; seed++) {
    const { below, pick, next } = random(seed);
    /** @type {any[]} */ const log = [];
    /** @type {Map<string, any>} */ const server = new Map();
    const write = () => {
      const id = pick(["a", "b", "c", "d"]);
      const held = server.get(id);
      const version = (held?.version ?? below(3)) + 1;
      const operation = !held ? "insert" : next() < 0.2 ? "delete" : "update";
      const fields = operation === "delete" ? {} : operation === "insert" ? { id, version, n: log.length } : { n: log.length };
      if (operation === "delete") server.delete(id);
      else server.set(id, { ...held, id, version, n: log.length });
      log.push({ offset: log.length + 1, collection: "leads", id, operation, version, fields, clock: "", mutation_id: null });
    };
    const feed = new Feed("leads");
    const mirror = new Mirror("leads");
    let id = 0;
    let sent = 0;
    const take = (/** @type {Fact[]} */ facts) => {
      for (const fact of facts) {
        if (fact.type === "replaced") mirror.replace(fact.records, fact.position);
        else if (fact.type === "advanced") {
          assert.ok(fact.from <= /** @type {any} */ (mirror.position).offset, `seed ${seed}`);
          assert.deepEqual(fact.changes.map(({ offset }) => offset), log.slice(fact.from, fact.position.offset).map(({ offset }) => offset), `seed ${seed}`);
          mirror.advance(fact.changes, fact.position);
        }
      }
    };
    /** The server's answer to a question, from where it is asked. */
    const answer = () => {
      feed.asked(++id);
      const since = /** @type {any} */ (feed.since);
      const mode = since && next() < 0.8 ? "replay" : "snapshot";
      const offset = log.length;
      take(feed.hear({ type: "subscribed", id, topic: "leads", view: "v", mode, epoch: "e", offset }));
      if (mode === "snapshot") {
        const records = [...server.values()];
        take(feed.hear({ type: "snapshot", topic: "leads", records: records.slice(0, 2), last: false, epoch: "e", offset }));
        take(feed.hear({ type: "snapshot", topic: "leads", records: records.slice(2), last: true, epoch: "e", offset }));
        sent = offset;
      } else sent = since.offset;
      deliver();
    };
    const deliver = () => {
      const from = Math.max(0, sent - below(3));
      const changes = log.slice(from);
      const delta = { type: "delta", topic: "leads", epoch: "e", from, to: log.length };
      sent = log.length;
      if (next() < 0.3 && changes.length > 1) {
        take(feed.hear({ ...delta, changes: changes.slice(0, 1), more: true }));
        if (next() < 0.3) return feed.disconnected();
        take(feed.hear({ ...delta, changes: changes.slice(1) }));
      } else take(feed.hear({ ...delta, changes }));
    };
    for (let turn = 0; turn < 60; turn++) {
      write();
      const chance = next();
      if (chance < 0.2) sent = log.length; // lost on the way
      else if (chance < 0.3) feed.disconnected();
      else if (feed.phase === "idle") answer();
      else deliver();
    }
    feed.disconnected();
    answer();
    if (feed.phase === "idle") answer();
    assert.deepEqual(Object.fromEntries(mirror.records), Object.fromEntries(server), `seed ${seed}`);
  }
});

test("a change that a snapshot's record is ahead of is skipped", () => {
  const mirror = new Mirror("leads");
  mirror.replace([["leads", { id: "a", version: 5, name: "newer than the position" }]], { epoch: "e", offset: 1, view: "v" });
  const change = /** @type {any} */ ({ offset: 2, collection: "leads", id: "a", operation: "update", version: 4, fields: { name: "older" } });
  assert.equal(mirror.advance([change], { epoch: "e", offset: 2, view: "v" })?.size, 0);
  assert.equal(mirror.records.get("a")?.name, "newer than the position");
});

test("a change of a record that is not held is skipped just after a snapshot, and later means that something is missing", () => {
  const mirror = new Mirror("leads");
  const at = (/** @type {number} */ offset) => ({ epoch: "e", offset, view: "v" });
  const change = /** @type {any} */ ({ offset: 2, collection: "leads", id: "a", operation: "update", version: 2, fields: {} });
  mirror.replace([], at(1));
  assert.equal(mirror.advance([change], at(2))?.size, 0);
  mirror.isSettled = true;
  assert.equal(mirror.advance([{ ...change, offset: 3, version: 3 }], at(3)), null);
});
