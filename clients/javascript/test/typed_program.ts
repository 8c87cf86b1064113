/**
 * A program that knows its server's schema. Never run: tsc checks it, against the sources and against the types that are published.
 * Where an error is expected and none comes, tsc says so.
 */

import { createCollection } from "@tanstack/db";
import { connect } from "../src/index.js";
import { createHooks, useLive } from "../src/react.js";
import { branchlineCollection } from "../src/tanstack.js";
import { FakeServer } from "../src/testing.js";
import type { Schema } from "./schema/schema.js";

const client = connect<Schema>({ token: "" });
const leads = client.live("leads", { where: { status: ["new", "won"], phone: null }, sort: ["-name", "phone"] });
export const names: string[] = leads.records.map(({ name }) => name);
export const phone: string | null | undefined = leads.get("1")?.phone;
client.live("deals", { sort: "-amount:numeric" }).on(({ effects }) => effects.map(({ after }) => after?.amount));
client.insert("leads", { name: "Ada" }, { id: "1" });
client.update("leads", "1", { status: "won" });
client.delete("leads", "1");
client.changes("*", () => {});
client.presence("leads").edit("1", "phone");

// @ts-expect-error no such collection
client.live("lead");
// @ts-expect-error no such field
leads.records[0]?.naem;
// @ts-expect-error text
export const wrong: number | undefined = leads.get("1")?.name;
// @ts-expect-error no such field
client.live("leads", { where: { stauts: "new" } });
// @ts-expect-error no such value
client.live("leads", { where: { status: "gone" } });
// @ts-expect-error no such field
client.live("leads", { sort: "-amount" });
// @ts-expect-error no such field
leads.stateOf("1", "naem");
// @ts-expect-error no such field
client.insert("leads", { naem: "Ada" });
// @ts-expect-error no such field
client.update("leads", "1", { naem: "Ada" });
// @ts-expect-error no such value
client.update("leads", "1", { status: "gone" });
// @ts-expect-error the server numbers versions
client.update("leads", "1", { version: 2 });
// @ts-expect-error no such collection
client.delete("lead", "1");
// @ts-expect-error no such field
client.presence("leads").edit("1", "naem");

const hooks = createHooks<Schema>();

export function Component() {
  const { records } = hooks.useLive("leads", { sort: "name" });
  const { data, update } = hooks.useRecord("deals", "1");
  update({ amount: "1" });
  // @ts-expect-error no such field
  update({ amuont: "1" });
  // @ts-expect-error no such collection
  hooks.useLive("lead");
  // @ts-expect-error no such field
  data?.amuont;
  // @ts-expect-error no such field
  records[0]?.naem;
  return records.map(({ name }) => name);
}

const collection = createCollection(branchlineCollection(client, "leads", { where: { status: "new" } }));
export const name: string | undefined = collection.get("1")?.name;
// @ts-expect-error no such field
collection.get("1")?.naem;
// @ts-expect-error no such collection
branchlineCollection(client, "lead");

const server = new FakeServer<Schema>({ leads: [{ id: "1", name: "Ada" }] });
server.connect().update("leads", "1", { phone: "1" });
server.deliver("leads", "1", { phone: "1" });
// @ts-expect-error no such field
server.deliver("leads", "1", { phnoe: "1" });
// @ts-expect-error no such field
server.connect().live("leads").get("1")?.naem;
// @ts-expect-error no such field
new FakeServer<Schema>({ leads: [{ id: "1", naem: "Ada" }] });

// Without a schema every name is right.
const any = connect({ token: "" });
any.live("whatever", { where: { a: [1, null] }, sort: ["-a" as string] }).records[0]?.anything;
any.update("whatever", "1", { anything: {} });
new FakeServer({ leads: [{ id: "1" }] }).deliver("whatever", "1", { anything: 1 });
export const Untyped = () => useLive("whatever").records.map(({ anything }) => anything);
