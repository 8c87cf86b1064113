import assert from "node:assert/strict";
import { test } from "node:test";
import { after, momentOf, seeServerTime, tick } from "../src/clock.js";
import { compareKeys, keyOf, parseSort, sortKey } from "../src/ordering.js";
import { admits, conditionsOf, topicOf } from "../src/topic.js";
import { random, readJson } from "./files.js";

const ID = "5b0f3c9e-7d7a-4d4e-8a39-2f6f0f6f7a10";

test("clocks tick as the shared vectors say", () => {
  const { tick: cases } = readJson("tests/vectors/clock.json");
  assert.ok(cases.length);
  for (const { stored, now_ms, next } of cases) assert.equal(tick(stored ?? "", now_ms, ID), `${next}-${ID}`);
});

test("a clock is after what it was set after, whatever the device's clock says", () => {
  for (let seed = 1; seed <= 500; seed++) {
    const { below } = random(seed);
    let last = "";
    for (let turn = 0; turn < 20; turn++) {
      const next = tick(last, 1_700_000_000_000 + below(2000) - 1000, ID);
      assert.ok(next > last, `seed ${seed}`);
      last = next;
      const other = tick("", 1_700_000_000_000 + below(2000), ID);
      assert.ok(momentOf(after(last, other)) > momentOf(last));
    }
  }
});

test("a difference to the server's time that the way explains moves nothing", () => {
  const clock = { last: tick("", 1000, ID), seen: "", offset_ms: 0 };
  assert.equal(seeServerTime(clock, 1090, 1000, 0), clock);
  assert.equal(seeServerTime(clock, 1900, 1000, 1000), clock);
  assert.deepEqual(seeServerTime(clock, 3_601_000, 1000, 10), { last: tick("", 3_601_000, ID), seen: "", offset_ms: 3_600_000 });
});

test("text sorts as the shared vectors say", () => {
  const { keys, sorted } = readJson("tests/vectors/sort_key.json");
  for (const [text, key] of Object.entries(keys)) assert.equal(sortKey(text), key);
  const order = parseSort("name");
  const compare = (/** @type {string} */ a, /** @type {string} */ b) =>
    compareKeys(order, keyOf(order, { id: "", version: 1, name: a }), keyOf(order, { id: "", version: 1, name: b }));
  assert.deepEqual(sorted.toReversed?.().sort(compare) ?? [...sorted].reverse().sort(compare), sorted);
});

test("text beyond the basic plane sorts by code point, after all of it", () => {
  assert.ok(sortKey("\u{1F600}") > sortKey("\uFFFD"));
  assert.ok("\u{1F600}" < "\uFFFD");
});

test("null is last both ways, decimal numbers are numbers, and equals go by id", () => {
  const records = [
    { id: "1", version: 1, amount: "9.50" },
    { id: "2", version: 1, amount: "10.00" },
    { id: "3", version: 1, amount: null },
    { id: "4", version: 1, amount: "9.5" },
  ];
  const ids = (/** @type {string} */ sort) => {
    const order = parseSort(sort);
    return [...records].sort((a, b) => compareKeys(order, keyOf(order, a), keyOf(order, b))).map(({ id }) => id);
  };
  assert.deepEqual(ids("amount:numeric"), ["1", "4", "2", "3"]);
  assert.deepEqual(ids("-amount:numeric"), ["2", "4", "1", "3"]);
  assert.throws(() => parseSort("-amount:money"), RangeError);
});

test("topics are written with fields and values sorted and encoded", () => {
  const { topic } = topicOf("leads", { where: { status: ["won", "new", null], branch_id: "a&b~" } });
  assert.equal(topic, "leads?branch_id=a%26b%7E&status=~,new,won");
  assert.equal(topicOf("leads", { id: "x/y" }).topic, "leads/x%2Fy");
  assert.equal(topicOf("*").topic, "*");
  assert.throws(() => topicOf("leads", { id: "x", where: { a: 1 } }), RangeError);
  assert.throws(() => conditionsOf({ status: [] }), RangeError);
});

test("a record passes a filter by any of a field's values, of every field", () => {
  const conditions = conditionsOf({ status: ["new", "won"], amount: 5, closed: false, note: null });
  assert.ok(admits(conditions, { status: "won", amount: "5.00", closed: false }));
  assert.ok(!admits(conditions, { status: "lost", amount: 5, closed: false }));
  assert.ok(!admits(conditions, { status: "new", amount: 5, closed: false, note: "x" }));
});
