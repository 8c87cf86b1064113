import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { FakeServer } from "../src/testing.js";

/** @import { Client } from "../src/client.js" */

const LEADS = { leads: [{ id: "1", name: "Ada", phone: "1", status: "new" }, { id: "2", name: "Bea", status: "won" }] };
/** @type {Client[]} */ const clients = [];
afterEach(() => Promise.all(clients.splice(0).map((client) => client.close())));

/** @param {FakeServer} server @param {Parameters<FakeServer["connect"]>[0]} [options] */
const connect = (server, options) => {
  const client = server.connect(options);
  clients.push(client);
  return client;
};

/** @param {() => unknown} condition */
async function until(condition) {
  const deadline = Date.now() + 20_000;
  while (!condition()) {
    assert.ok(Date.now() < deadline, `waited in vain for ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

test("a live collection shows what there is, and what somebody else does", async () => {
  const server = new FakeServer(LEADS);
  const leads = await connect(server).live("leads", { where: { status: "new" } }).ready();
  assert.deepEqual(leads.records.map(({ name }) => name), ["Ada"]);
  /** @type {string[]} */ const seen = [];
  leads.on(({ effects }) => seen.push(...effects.map(({ kind, id, change }) => `${kind} ${id} ${change?.actor?.name}`)));
  server.deliver("leads", "2", { status: "new" });
  server.deliver("leads", "1", { phone: "2" });
  server.deliver("leads", "1", null);
  await until(() => leads.size === 1 && leads.get("2"));
  assert.deepEqual(seen, ["added 2 Somebody else", "changed 1 Somebody else", "removed 1 Somebody else"]);
});

test("a write shows at once, without a connection too, and is sent when there is one", async () => {
  const server = new FakeServer(LEADS);
  const client = connect(server);
  const leads = await client.live("leads").ready();
  server.goOffline();
  await until(() => client.state === "waiting");
  assert.equal(leads.state, "stale");
  const write = client.update("leads", "1", { phone: "9" });
  const insert = client.insert("leads", { name: "Cy" });
  assert.equal(leads.get("1")?.phone, "9");
  assert.equal(leads.stateOf("1", "phone"), "local");
  assert.equal(leads.stateOf("1", "name"), "saved");
  await write.local;
  assert.equal(leads.stateOf("1"), "saving");
  assert.equal(client.pending, 2);
  server.goOnline();
  assert.equal((await write.server).status, "applied");
  await insert.server;
  assert.deepEqual(server.collections.get("leads")?.get("1")?.phone, "9");
  await until(() => leads.state === "live" && leads.get("1")?.version === 2);
  assert.equal(leads.stateOf("1"), "saved");
});

test("what came while there was no connection is caught up, from the position", async () => {
  const server = new FakeServer(LEADS);
  const client = connect(server);
  const leads = await client.live("leads").ready();
  server.goOffline();
  await until(() => leads.state === "stale");
  server.deliver("leads", "1", { phone: "5" });
  server.deliver("leads", "3", { name: "Cy" });
  server.goOnline();
  await leads.ready();
  assert.deepEqual([leads.get("1")?.phone, leads.size], ["5", 3]);
});

test("a field that lost is shown to its author, and restored by one call", async () => {
  const server = new FakeServer(LEADS);
  const client = connect(server);
  const leads = await client.live("leads").ready();
  server.conflict("leads", "1", { phone: "theirs" });
  const { status } = await client.update("leads", "1", { phone: "mine", name: "Ada B." }).server;
  assert.equal(status, "merged");
  await until(() => leads.get("1")?.phone === "theirs" && leads.get("1")?.name === "Ada B.");
  const [loss] = client.lost;
  assert.deepEqual([loss?.mine, loss?.theirs, loss?.field], ["mine", "theirs", "phone"]);
  await client.restore(/** @type {any} */ (loss)).server;
  assert.equal(server.collections.get("leads")?.get("1")?.phone, "mine");
  await until(() => !client.lost.length);
});

test("a loss that was dismissed does not come back with the others", async () => {
  const server = new FakeServer(LEADS);
  const client = connect(server);
  await client.live("leads").ready();
  server.overwrite("leads", "1", { phone: "theirs", name: "Theirs" });
  await until(() => client.lost.length === 2);
  const [first, second] = client.lost;
  await client.dismiss(/** @type {any} */ (first));
  assert.deepEqual(client.lost, [second]);
  await client.dismiss(/** @type {any} */ (second));
  const another = connect(server); // the server does not tell of them again
  await another.live("leads").ready();
  assert.deepEqual(another.lost, []);
});

test("a refused write goes to the inbox, its value is undone, and it can be tried again with another", async () => {
  const server = new FakeServer(LEADS);
  const client = connect(server);
  const leads = await client.live("leads").ready();
  server.refuse("invalid");
  const write = client.update("leads", "1", { phone: "no number" });
  await assert.rejects(write.server, { code: "refused" });
  assert.equal(leads.get("1")?.phone, "1");
  assert.equal(leads.stateOf("1"), "needs-review");
  const [entry] = client.inbox;
  assert.deepEqual(entry?.mutation.fields, { phone: "no number" });
  const [again] = client.retry(/** @type {any} */ (entry).id, { phone: "7" });
  await again?.server;
  assert.equal(client.inbox.length, 0);
  assert.equal(server.collections.get("leads")?.get("1")?.phone, "7");
});

test("when access is lost, nothing of it is shown, and what waits is put aside with its value", async () => {
  const server = new FakeServer(LEADS);
  const client = connect(server, { retry: { base_ms: 600_000, cap_ms: 600_000 } });
  const leads = await client.live("leads").ready();
  server.refuse("unavailable");
  const write = client.update("leads", "1", { phone: "typed" });
  await until(() => server.writes.length === 1 && leads.stateOf("1") === "saving");
  /** @type {string[][]} */ const told = [];
  client.on("purge", (topics) => told.push(topics));
  server.revoke(["leads"]);
  await assert.rejects(write.server, { code: "refused" });
  assert.deepEqual([leads.size, leads.state, told], [0, "loading", [["leads"]]]);
  assert.deepEqual(client.inbox.map(({ code, mutation }) => [code, mutation.fields]), [["access_lost", { phone: "typed" }]]);
});

test("records are read when they are asked for, also of a topic that was followed from now on", async () => {
  const server = new FakeServer(LEADS);
  const client = connect(server);
  client.changes("leads", () => {});
  await client.ready();
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal((await client.live("leads").ready()).size, 2);
});

test("two collections of one topic share a subscription, and the later one has the records at once", async () => {
  const server = new FakeServer(LEADS);
  const client = connect(server);
  const first = await client.live("leads", { sort: "name" }).ready();
  const second = client.live("leads", { sort: "-name" });
  assert.deepEqual(second.records.map(({ name }) => name), ["Bea", "Ada"]);
  first.close();
  server.deliver("leads", "1", { name: "Cy" });
  await until(() => second.records[0]?.name === "Cy");
});

test("changes from now on are told without reading what there is", async () => {
  const server = new FakeServer(LEADS);
  const client = connect(server);
  /** @type {string[]} */ const told = [];
  client.changes("*", ({ collection, id }) => told.push(`${collection}/${id}`));
  await client.ready();
  await new Promise((resolve) => setTimeout(resolve, 20));
  server.deliver("deals", "d", { name: "Deal" });
  await until(() => told.length);
  assert.deepEqual(told, ["deals/d"]);
});

test("a token that is null is needs-auth, and signing in goes on", async () => {
  const server = new FakeServer(LEADS);
  const client = connect(server, { token: () => null });
  await until(() => client.state === "needs-auth");
  client.signIn("a token");
  await client.ready();
});

test("a token callback that fails is asked again", async () => {
  let asked = 0;
  const token = () => {
    if (++asked < 3) throw new Error("the network is away");
    return "a token";
  };
  await connect(new FakeServer(LEADS), { token }).ready();
  assert.equal(asked, 3);
});

test("where sockets do not get through it polls, and says so", async () => {
  const client = connect(new FakeServer(LEADS), { sockets: false });
  await until(() => client.state === "polling");
});

test("where it polls, whose client it is is told once it is known", async () => {
  const client = connect(new FakeServer(LEADS), { sockets: false });
  /** @type {unknown[]} */ const told = [];
  client.on("state", (state) => told.push([state, client.principal?.name ?? null]));
  await until(() => client.principal);
  assert.deepEqual(told.at(-1), ["polling", "Me"]);
});

test("a paused client works, and sends when it goes on", async () => {
  const server = new FakeServer(LEADS);
  const client = connect(server);
  const leads = await client.live("leads").ready();
  client.pause();
  assert.equal(client.isPaused, true);
  const write = client.update("leads", "1", { phone: "3" });
  await write.local;
  assert.deepEqual([client.state, leads.state, leads.get("1")?.phone, server.writes.length], ["idle", "stale", "3", 0]);
  await assert.rejects(client.request("GET", "/api/leads"), { code: "unreachable" });
  client.resume();
  assert.equal(client.isPaused, false);
  await write.server;
  await leads.ready();
});

test("the clients of a page can be looked into until they are closed", async () => {
  const server = new FakeServer(LEADS);
  const client = connect(server);
  await client.live("leads").ready();
  client.pause();
  await client.update("leads", "1", { phone: "2" }).local;
  const shown = [...(globalThis.__BRANCHLINE__ ?? [])].map(({ state, reason, principal, leads, topics, queue, inbox }) => ({
    state,
    reason,
    user_id: principal?.user_id,
    leads,
    topics,
    queue: queue.map(({ stage, mutation: { fields } }) => [stage, fields]),
    inbox,
  }));
  const topics = [["leads", { epoch: "fake", offset: 0, view: "leads" }]];
  assert.deepEqual(shown, [{ state: "idle", reason: "paused", user_id: "me", leads: true, topics, queue: [["queued", { phone: "2" }]], inbox: [] }]);
  await client.close();
  assert.equal(globalThis.__BRANCHLINE__?.size, 0);
});

test("a fake server answers a repeat with its first result", async () => {
  const server = new FakeServer(LEADS);
  const client = connect(server);
  await client.update("leads", "1", { phone: "3" }).server;
  const body = JSON.stringify({ mutations: server.writes });
  const again = await connect(server).request("POST", "/api/sync", JSON.parse(body));
  assert.equal(again.results[0].status, "duplicate");
  assert.equal(server.collections.get("leads")?.get("1")?.version, 2);
});
