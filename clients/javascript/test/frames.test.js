import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "../src/index.js";
import { frames } from "./files.js";

const up = Object.fromEntries(frames("up"));
const down = Object.fromEntries(frames("down"));

/** A socket whose other end is the test: what was sent, by type, and what is said. */
class Line {
  readyState = 1;
  /** @type {any[]} */ sent = [];
  /** @type {any} */ onopen;
  /** @type {any} */ onmessage;
  /** @type {any} */ onclose;
  /** @param {string} text */
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  /** @param {any} message */
  say(message) {
    this.onmessage({ data: JSON.stringify(message) });
  }
  close() {}
  /** The last message of a type. @param {string} type */
  last(type) {
    return this.sent.findLast((message) => message.type === type);
  }
}

async function openLine() {
  const line = new Line();
  const openSocket = () => {
    queueMicrotask(() => line.onopen());
    return /** @type {any} */ (line);
  };
  const fetch = async () => new Response(JSON.stringify({ items: [] }));
  const client = connect({ url: "http://x.test", gateway_url: "ws://x.test", token: up.authenticate.token, receipts: 1, transport: { fetch, openSocket } });
  while (!line.last("authenticate")) await new Promise((resolve) => setTimeout(resolve, 1));
  line.say({ ...down.ready, limits: {} });
  return { line, client };
}

/** The same message but for values that are of the moment. @param {any} sent @param {any} golden @param {string[]} momentary */
const alike = (sent, golden, ...momentary) => {
  const own = Object.fromEntries(momentary.map((name) => [name, golden[name]]));
  for (const name of momentary) assert.equal(typeof sent[name], typeof golden[name], name);
  assert.deepEqual({ ...sent, ...own }, golden);
};

test("every message that goes up is built as its golden frame", async () => {
  const { line, client } = await openLine();
  alike(line.last("authenticate"), { ...up["authenticate-receipts"], ...up.authenticate }, "client_id");

  const live = client.live("leads", { where: { status: ["won", "new"] } });
  alike(line.last("subscribe"), up.subscribe, "id");
  const { id } = line.last("subscribe");
  line.say({ ...down["subscribed-snapshot"], id });
  line.say({ ...down["snapshot-last"] });
  assert.equal(live.state, "live");

  line.say({ ...down["delta-update"], from: 99_999, to: 100_000 });
  alike(line.last("subscribe"), up["subscribe-since"], "id");

  client.changes("*", () => {});
  const { presence, ...now } = up["subscribe-now"];
  alike(line.last("subscribe"), now, "id");
  client.presence("*");
  alike(line.last("subscribe"), up["subscribe-now"], "id");

  const people = client.presence("leads", { where: { status: ["won", "new"] } });
  assert.equal(line.last("subscribe").presence, true);
  people.announce(up.announce.state);
  alike(line.last("announce"), up.announce, "topic");
  people.announce(null);
  alike(line.last("announce"), up["announce-leave"], "topic");
  people.signal(up.signal.event, up.signal.payload);
  alike(line.last("signal"), up.signal, "topic");

  client.shown(/** @type {any} */ ({ offset: up.receipt.offset }));
  alike(line.last("receipt"), up.receipt, "shown_at_ms");

  line.say({ ...down["subscribed-replay"], id: line.sent.findLast(({ type, topic }) => type === "subscribe" && topic === up.unsubscribe.topic).id });
  people.close();
  live.close();
  alike(line.last("unsubscribe"), up.unsubscribe, "id");

  line.say(down.purge);
  while (!line.last("purged")) await new Promise((resolve) => setTimeout(resolve, 1));
  alike(line.last("purged"), { ...up.purged, topics: down.purge.topics });
  await client.close();
  assert.deepEqual(Object.keys(up.ping).sort(), ["sent_at_ms", "type"]);
});

test("a roster, its news and its leases are read from their golden frames", async () => {
  const { line, client } = await openLine();
  const people = client.presence("leads", { where: { status: ["new", "won"] } });
  const { id, topic } = line.last("subscribe");
  line.say({ ...down["subscribed-live"], id, topic });
  /** @param {string} name */
  const say = (name) => line.say({ ...down[name], topic });
  say("presence-roster");
  const [ben] = down["presence-roster"].joined;
  assert.deepEqual(people.people.map(({ name }) => name), [ben.name]);
  // That connection is this client's own in the golden `ready`.
  assert.deepEqual(people.others, []);
  line.say({ ...down["presence-leases"], topic, changed: [{ ...down["presence-leases"].changed[0], connection_id: "another" }] });
  assert.deepEqual(people.editing(down["presence-leases"].changed[0].leases[1].record, "notes").map(({ name }) => name), [ben.name]);
  assert.equal(people.people.length, 2);
  say("presence");
  assert.deepEqual([people.people.length, people.roster.count], [2, 2], "news after the roster adds to it");
  /** @type {any} */ let heard;
  people.onSignal((signal) => (heard = signal));
  say("signal");
  assert.deepEqual(heard.payload, down.signal.payload);
  await client.close();
});
