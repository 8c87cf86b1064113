import assert from "node:assert/strict";
import { test } from "node:test";
import { createCollection } from "@tanstack/db";
import { branchlineCollection } from "../src/tanstack.js";
import { FakeServer } from "../src/testing.js";

/** @param {() => unknown} condition */
async function until(condition) {
  const deadline = Date.now() + 20_000;
  while (!condition()) {
    assert.ok(Date.now() < deadline, `waited in vain for ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

test("a TanStack collection holds the records, writes through, and works without a connection", async () => {
  const server = new FakeServer({ leads: [{ id: "1", name: "Ada" }] });
  const client = server.connect();
  const leads = createCollection(branchlineCollection(client, "leads"));
  await leads.preload();
  await until(() => leads.get("1"));
  server.deliver("leads", "2", { name: "Bea" });
  await until(() => leads.get("2")?.name === "Bea");
  await leads.update("1", (draft) => void Object.assign(draft, { name: "Ada B." })).isPersisted.promise;
  await until(() => server.collections.get("leads")?.get("1")?.name === "Ada B.");
  server.goOffline();
  await leads.insert({ id: "3", name: "Cy", version: 0 }).isPersisted.promise;
  assert.equal(leads.get("3")?.name, "Cy");
  assert.equal(client.pending, 1);
  server.goOnline();
  await client.drain();
  assert.equal(server.collections.get("leads")?.get("3")?.name, "Cy");
  await leads.delete("3").isPersisted.promise;
  await client.drain();
  assert.equal(server.collections.get("leads")?.has("3"), false);
  await until(() => !leads.has("3"));
  await leads.cleanup();
  await client.close();
});

test("what the server refuses leaves the collection as it was, and lies in the inbox", async () => {
  const server = new FakeServer({ leads: [{ id: "1", name: "Ada" }] });
  const client = server.connect();
  const leads = createCollection(branchlineCollection(client, "leads"));
  await leads.preload();
  await until(() => leads.get("1"));
  server.refuse();
  leads.update("1", (draft) => void Object.assign(draft, { name: "no" }));
  await until(() => client.inbox.length === 1 && leads.get("1")?.name === "Ada");
  await leads.cleanup();
  await client.close();
});
