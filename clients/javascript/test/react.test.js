import assert from "node:assert/strict";
import { after, test } from "node:test";
import { StrictMode, createElement } from "react";
import { renderToString } from "react-dom/server";
import { BranchlineProvider, useConnection, useLive, usePresence, useRecord } from "../src/react.js";
import { FakeServer } from "../src/testing.js";

/** @import { Client } from "../src/client.js" */

const LEADS = { leads: [{ id: "1", name: "Ada", phone: "1" }, { id: "2", name: "Bea" }] };
// React asks for this from whoever tests it, and its test renderer says on the console that it will go some day.
Object.assign(globalThis, { IS_REACT_ACT_ENVIRONMENT: true });
const { error } = console;
console.error = (...words) => String(words[0]).includes("react-test-renderer is deprecated") || error(...words);
const { act, create } = (await import("react-test-renderer")).default ?? (await import("react-test-renderer"));
after(() => (console.error = error));

const List = () => {
  const { records, state } = useLive("leads", { sort: "name" });
  const { isLive } = useConnection();
  const { others } = usePresence("leads");
  return createElement("p", null, `${state} ${isLive} ${others.length}: ${records.map(({ name }) => name).join()}`);
};

const One = () => {
  const { data, sync, pending, update } = useRecord("leads", "1");
  return createElement("button", { onClick: () => update({ phone: "2" }) }, `${data?.phone} ${sync} ${pending}`);
};

/** @param {Client} client @param {any} component */
const app = (client, component) => createElement(StrictMode, null, createElement(BranchlineProvider, { client }, createElement(component)));

/** @param {any} renderer @param {(text: string) => boolean} condition */
async function shows(renderer, condition) {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const text = renderer.root.findByType(renderer.root.findAllByType("p").length ? "p" : "button").children.join("");
    if (condition(text)) return text;
    assert.ok(Date.now() < deadline, `it shows ${text}`);
    await act(() => new Promise((resolve) => setTimeout(resolve, 5)));
  }
}

test("in StrictMode a list is shown, kept up to date, and opened once", async () => {
  const server = new FakeServer(LEADS);
  const client = server.connect();
  let opened = 0;
  const { live } = client;
  client.live = (...told) => (opened++, live.apply(client, told));
  /** @type {any} */ let renderer;
  await act(async () => {
    renderer = create(app(client, List));
  });
  await shows(renderer, (text) => text === "live true 0: Ada,Bea");
  await act(async () => server.deliver("leads", "3", { name: "Abe" }));
  await shows(renderer, (text) => text === "live true 0: Abe,Ada,Bea");
  assert.equal(opened, 1);
  await act(async () => renderer.unmount());
  await client.close();
});

test("a record says how its newest write stands", async () => {
  const server = new FakeServer(LEADS);
  const client = server.connect();
  /** @type {any} */ let renderer;
  await act(async () => {
    renderer = create(app(client, One));
  });
  await shows(renderer, (text) => text === "1 saved false");
  await act(async () => server.goOffline());
  await act(async () => renderer.root.findByType("button").props.onClick());
  await shows(renderer, (text) => text === "2 saving true");
  await act(async () => server.goOnline());
  await shows(renderer, (text) => text === "2 saved false");
  await act(async () => renderer.unmount());
  await client.close();
});

test("on a server a page renders as loading, and opens nothing", async () => {
  const client = new FakeServer(LEADS).connect();
  client.live = client.presence = () => assert.fail("nothing is opened while rendering");
  assert.equal(renderToString(app(client, List)), "<p>loading false 0: </p>");
  await client.close();
});

test("a hook without its provider says what is missing", () => {
  assert.throws(() => renderToString(createElement(List)), /BranchlineProvider/);
});
