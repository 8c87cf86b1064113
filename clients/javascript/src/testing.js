/**
 * A server for the tests of programs that use this client: in memory, without a network, under the test's control.
 *
 *     const server = new FakeServer({ leads: [{ id: "1", name: "Ada" }] });
 *     const client = server.connect();
 *     server.goOffline(); server.conflict("leads", "1", { name: "Bea" }); server.deliver("leads", "1", { phone: "1" });
 *
 * It knows no rights, no history and no merging by clock: what it does to a write is what the test has said.
 */

import { connect } from "./client.js";
import { admits } from "./topic.js";

/** @import { Options } from "./client.js" */
/** @import { AnySchema, Conditions, Fields, FieldsOf, Mutation, NameOf, Record_, SchemaOf } from "./types.js" */

const EPOCH = "fake";
const PRINCIPAL = { user_id: "me", name: "Me", organization_id: "org", role: "manager", branch_ids: null, reads: "all" };
const SOMEBODY = { user_id: "somebody", name: "Somebody else", branch_id: null };

/** @typedef {{ socket: FakeSocket, topics: Map<string, Conditions> }} Line */

/** The server's end of a socket, and the program's. */
class FakeSocket extends EventTarget {
  readyState = 1;
  /** @type {(() => void) | null} */ onopen = null;
  /** @type {((event: { data: string }) => void) | null} */ onmessage = null;
  /** @type {((event: { code: number, reason: string }) => void) | null} */ onclose = null;
  /** @type {Map<string, Conditions>} */ topics = new Map();
  #hear;

  /** @param {(socket: FakeSocket, message: any) => void} hear @param {boolean} isReachable */
  constructor(hear, isReachable) {
    super();
    this.#hear = hear;
    queueMicrotask(() => (isReachable ? this.onopen?.() : this.end(1006)));
  }

  /** @param {string} text */
  send(text) {
    queueMicrotask(() => this.readyState === 1 && this.#hear(this, JSON.parse(text)));
  }

  /** @param {object} message */
  say(message) {
    if (this.readyState === 1) this.onmessage?.({ data: JSON.stringify(message) });
  }

  close() {
    this.readyState = 3;
  }

  /** @param {number} code */
  end(code) {
    this.readyState = 3;
    this.onclose?.({ code, reason: "" });
  }
}

/** @param {string} topic @returns {[collection: string, conditions: Conditions, id: string]} */
function readTopic(topic) {
  const [path = "", query] = topic.split("?");
  const [collection = "", id = ""] = path.split("/").map(decodeURIComponent);
  const parts = (query?.split("&") ?? []).map((part) => part.split("="));
  const values = (/** @type {string} */ text) => text.split(",").map((value) => (value === "~" ? null : decodeURIComponent(value)));
  return [collection, Object.fromEntries(parts.map(([field = "", text = ""]) => [decodeURIComponent(field), values(text)])), id];
}

/** @template {SchemaOf<S>} [S=AnySchema] */
export class FakeServer {
  /** What it holds, by collection and id. @type {Map<string, Map<string, Record_>>} */ collections = new Map();
  /** All mutations that have come, in order, repeats too. @type {Mutation[]} */ writes = [];
  #offset = 0;
  #isReachable = true;
  /** @type {Set<FakeSocket>} */ #sockets = new Set();
  /** @type {any[]} */ #log = [];
  /** @type {Map<string, object>} */ #results = new Map();
  /** @type {Map<string, Fields>} */ #conflicts = new Map();
  /** @type {{ code: string, message: string }[]} */ #refusals = [];
  /** What was overwritten and its author has not seen. @type {any[]} */ #overwritten = [];
  /** @type {Set<import("./client.js").Client<S>>} */ #clients = new Set();

  /** @param {NoInfer<{ [C in keyof S]?: readonly Partial<S[C]>[] }>} [collections] records; `version` is 1 where it is not given */
  constructor(collections = {}) {
    for (const [name, records] of Object.entries(collections)) {
      for (const record of /** @type {readonly Fields[]} */ (records)) this.#of(name).set(record.id, /** @type {Record_} */ ({ version: 1, ...record }));
    }
  }

  /** Gives a client of this server; other options than these are those of `connect`. @param {Partial<Options>} [options] @returns {import("./client.js").Client<S>} */
  connect(options = {}) {
    const retry = { base_ms: 5, lost_ms: 5, silent_ms: 5, ...options.retry };
    /** @type {import("./client.js").Client<S>} */
    const client = connect({ token: "fake", url: "http://fake.test", gateway_url: "ws://fake.test/ws", ...options, retry, transport: this.#transport() });
    this.#clients.add(client);
    return client;
  }

  /** Ends all sockets, and answers nothing until `goOnline`. */
  goOffline() {
    this.#isReachable = false;
    for (const socket of this.#sockets) socket.end(1006);
    this.#sockets.clear();
  }

  /** Is reachable again, and the clients know. */
  goOnline() {
    this.#isReachable = true;
    for (const client of this.#clients) client.online();
  }

  /**
   * The next write of a record loses these fields to somebody who was later.
   * @template {NameOf<S>} C
   * @param {C} collection
   * @param {string} id
   * @param {FieldsOf<S[C]>} theirs
   */
  conflict(collection, id, theirs) {
    this.#conflicts.set(`${collection}/${id}`, theirs);
  }

  /** The next write is refused. @param {string} [code] @param {string} [message] */
  refuse(code = "invalid", message = "refused by the test") {
    this.#refusals.push({ code, message });
  }

  /**
   * Somebody else changes some fields of a record, inserts it if it is not there, or (with null) deletes it.
   * @template {NameOf<S>} C
   * @param {C} collection
   * @param {string} id
   * @param {FieldsOf<S[C]> | null} fields
   */
  deliver(collection, id, fields) {
    this.#commit(collection, id, fields, null, SOMEBODY);
  }

  /**
   * Somebody else replaces fields of a record, without having seen what the client's person had written there.
   * @template {NameOf<S>} C
   * @param {C} collection
   * @param {string} id
   * @param {FieldsOf<S[C]>} theirs
   */
  overwrite(collection, id, theirs) {
    const at_ms = Date.now();
    const before = this.#of(collection).get(id);
    const overwrote = Object.keys(theirs).map((field) => ({ field, value: before?.[field], by: PRINCIPAL.user_id, at_ms }));
    const version = this.#commit(collection, id, theirs, null, SOMEBODY, { overwrote });
    for (const { field, value: mine } of overwrote) {
      this.#overwritten.push({ id: `${id}/${field}`, collection, record_id: id, field, mine, theirs: /** @type {Fields} */ (theirs)[field], by: SOMEBODY, at_ms, version });
    }
  }

  /** Ends access to topics. @param {string[]} topics */
  revoke(topics) {
    for (const socket of this.#sockets) socket.say({ type: "purge", topics, reason: "access_changed" });
  }

  // The wire.

  /** @returns {NonNullable<Options["transport"]>} */
  #transport() {
    return {
      fetch: async (url, { method, body } = {}) => {
        if (!this.#isReachable) throw new TypeError("the fake server is offline");
        const answer = this.#answer(`${method} ${new URL(String(url)).pathname}`, body ? JSON.parse(String(body)) : null);
        return new Response(JSON.stringify(answer ?? { code: "not_found" }), { status: answer ? 200 : 404 });
      },
      openSocket: () => {
        const socket = new FakeSocket((own, message) => this.#hear(own, message), this.#isReachable);
        if (this.#isReachable) this.#sockets.add(socket);
        return /** @type {any} */ (socket);
      },
    };
  }

  /** @param {string} request @param {any} body @returns {object | null} */
  #answer(request, body) {
    if (request === "GET /api/client-config") return { gateway_url: "ws://fake.test/ws" };
    if (request === "GET /api/auth/me") return PRINCIPAL;
    if (request === "GET /api/overwritten") return { items: this.#overwritten, more: false };
    if (request === "POST /api/overwritten/seen") {
      this.#overwritten = this.#overwritten.filter(({ id }) => !body.ids.includes(id));
      return { seen: body.ids.length };
    }
    if (request !== "POST /api/sync") return null;
    const results = body.mutations.map((/** @type {Mutation} */ mutation) => this.#write(mutation));
    return { results, epoch: EPOCH, offset: this.#offset };
  }

  /** @param {FakeSocket} socket @param {any} message */
  #hear(socket, { type, id, topic, since, sent_at_ms }) {
    const at = { epoch: EPOCH, offset: this.#offset };
    const time = { server_time_ms: Date.now() };
    if (type === "authenticate") socket.say({ type: "ready", connection_id: "fake", ...at, principal: PRINCIPAL, ...time, heartbeat_ms: 10_000, limits: {} });
    else if (type === "ping") socket.say({ type: "pong", sent_at_ms, ...time });
    else if (type === "unsubscribe") socket.topics.delete(topic);
    else if (type === "subscribe") this.#subscribe(socket, id, topic, since);
  }

  /** @param {FakeSocket} socket @param {number} id @param {string} topic @param {any} since */
  #subscribe(socket, id, topic, since) {
    const [collection, conditions, record_id] = readTopic(topic);
    const at = { epoch: EPOCH, offset: this.#offset };
    socket.topics.set(topic, conditions);
    const mode = since === "now" ? "live" : since ? "replay" : "snapshot";
    socket.say({ type: "subscribed", id, topic, view: topic, mode, ...at });
    if (mode === "snapshot") {
      const records = [...this.#of(collection).values()].filter((record) => (!record_id || record.id === record_id) && admits(conditions, record));
      socket.say({ type: "snapshot", topic, collection, records, last: true, ...at });
    } else if (mode === "replay") this.#tell(socket, topic, since.offset);
  }

  /** @param {FakeSocket} socket @param {string} topic @param {number} from */
  #tell(socket, topic, from) {
    const [collection, conditions, record_id] = readTopic(topic);
    const changes = this.#log.slice(from).flatMap(({ before, after, ...change }) => {
      if (collection !== "*" && (change.collection !== collection || (record_id && change.id !== record_id))) return [];
      const was = before && admits(conditions, before);
      const is = after && admits(conditions, after);
      if (!was && !is) return [];
      if (was && is) return [change];
      if (is) return [{ ...change, operation: before ? "enter" : "insert", fields: after }];
      return [{ ...change, operation: after ? "leave" : "delete", fields: {} }];
    });
    socket.say({ type: "delta", topic, epoch: EPOCH, from, to: this.#offset, changes });
  }

  // What it holds.

  /** @param {string} name */
  #of(name) {
    const held = this.collections.get(name) ?? new Map();
    this.collections.set(name, held);
    return held;
  }

  /** @param {Mutation} mutation @returns {object} */
  #write(mutation) {
    const { mutation_id, collection, id, operation, clock } = mutation;
    this.writes.push(mutation);
    const first = this.#results.get(mutation_id);
    if (first) return { mutation_id, status: "duplicate", first };
    const refusal = this.#refusals.shift();
    if (refusal) return { mutation_id, status: "rejected", ...refusal };
    const key = `${collection}/${id}`;
    const theirs = this.#conflicts.get(key) ?? {};
    this.#conflicts.delete(key);
    if (Object.keys(theirs).length) this.#commit(collection, id, theirs, null, SOMEBODY);
    const names = Object.keys(mutation.fields).filter((name) => name in theirs);
    const lost = names.map((field) => ({ field, mine: mutation.fields[field], theirs: theirs[field], by: SOMEBODY.user_id, at_ms: Date.now() }));
    const fields = Object.fromEntries(Object.entries(mutation.fields).filter(([name]) => !names.includes(name)));
    const version = this.#commit(collection, id, operation === "delete" ? null : fields, mutation_id, { ...SOMEBODY, user_id: "me", name: "Me" });
    const result = { mutation_id, status: lost.length ? "merged" : "applied", version, clock, ...(lost.length ? { lost } : {}) };
    this.#results.set(mutation_id, result);
    return result;
  }

  /** @param {string} collection @param {string} id @param {Fields | null} fields @param {string | null} mutation_id @param {object} actor @param {object} [more] */
  #commit(collection, id, fields, mutation_id, actor, more = {}) {
    const held = this.#of(collection);
    const before = held.get(id);
    const version = (before?.version ?? 0) + 1;
    const after = fields && /** @type {Record_} */ ({ ...before, ...fields, id, version });
    if (after) held.set(id, after);
    else held.delete(id);
    const operation = !after ? "delete" : before ? "update" : "insert";
    const offset = ++this.#offset;
    const clock = `${String(Date.now()).padStart(13, "0")}-0000-00000000-0000-4000-8000-000000000000`;
    const change = { offset, collection, id, operation, version, fields: operation === "insert" ? after : (fields ?? {}), clock, actor, mutation_id, ...more };
    this.#log.push({ ...change, transaction: String(offset), committed_at_ms: Date.now(), before, after });
    for (const socket of this.#sockets) for (const topic of socket.topics.keys()) this.#tell(socket, topic, offset - 1);
    return version;
  }
}
