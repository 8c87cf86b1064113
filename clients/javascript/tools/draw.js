/**
 * How long a change takes from the socket to a list of 10,000 records: `npm run draw`. In Node, without the browser's own drawing: the
 * message is parsed, the position moved, the record put in its place and the array of records made anew, for each of 1,000 changes.
 */

import { FakeServer } from "../src/testing.js";

const RECORDS = 10_000;
const CHANGES = 1_000;
const names = Array.from({ length: RECORDS }, (_, i) => ({ id: `id-${i}`, name: `Émile ${(i * 7919) % RECORDS}`, status: "new" }));
const server = new FakeServer({ leads: names });
const client = server.connect();
const opened = performance.now();
const leads = await client.live("leads", { sort: "name" }).ready();
console.log(`${(performance.now() - opened).toFixed(0)} ms until ${leads.size} records are live, sorted`);
/** @type {number[]} */ const times = [];
for (let i = 0; i < CHANGES; i++) {
  const begun = performance.now();
  server.deliver("leads", `id-${(i * 31) % RECORDS}`, { name: `Zoë ${i}` });
  void leads.records[0];
  times.push(performance.now() - begun);
}
times.sort((a, b) => a - b);
const at = (/** @type {number} */ share) => times[Math.floor(share * CHANGES)]?.toFixed(2);
console.log(`${at(0.5)} / ${at(0.95)} / ${at(0.999)} ms a change, p50 / p95 / p99.9`);
await client.close();
