/** `connect`, and the client that it gives. */

import { uuidv7 } from "uuidv7";
import { BranchlineError } from "./errors.js";
import { LiveCollection } from "./live.js";
import { Presence } from "./presence.js";
import { Session } from "./session.js";
import { topicOf } from "./topic.js";

/** @import { AnySchema, Change, Fields, FieldsOf, InboxEntry, LiveOptions, Loss, Mode, NameOf, Pending, Position, SchemaOf, TokenSource, TopicOptions } from "./types.js" */
/** @import { RetryPolicy } from "./backoff.js" */
/** @import { Write } from "./writer.js" */

/**
 * `url`: the API's address, by default the page's own; it names the gateway, unless `gateway_url` does. `token`: an access token, or
 * a function that gives one and is called again (with `renew`) when one is refused or about to end. `offline`: what `offline()` of
 * `branchline/offline` gives. `sockets: false` polls every `poll_ms`; that happens by itself where sockets do not get through.
 * `receipts`: the share of changes given to `shown` that is reported. `transport` takes the place of the browser's: for tests.
 * @typedef {{
 *   url?: string,
 *   token: TokenSource,
 *   offline?: import("./offline.js").Offline | null,
 *   gateway_url?: string,
 *   sockets?: boolean,
 *   poll_ms?: number,
 *   silence_ms?: number,
 *   receipts?: number,
 *   retry?: Partial<RetryPolicy>,
 *   transport?: { fetch: typeof globalThis.fetch, openSocket: (url: string, protocol: string) => WebSocket },
 * }} Options
 */

/**
 * Gives a client. It works at once, with or without a connection. In TypeScript `connect<Schema>(…)` knows the server's collections.
 * @template {SchemaOf<S>} [S=AnySchema]
 * @param {Options} options
 * @returns {Client<S>}
 */
export const connect = (options) => new Client(options);

/**
 * One person's connection to one organisation: live collections, writes, presence.
 * @template {SchemaOf<S>} [S=AnySchema]
 */
export class Client {
  #session;
  /** @type {(() => void)[]} */ #cleanups = [];

  /** @param {Options} options */
  constructor(options) {
    this.#session = new Session(options, uuidv7());
    const check = () => globalThis.document?.visibilityState === "hidden" || this.online();
    const targets = /** @type {const} */ ([
      [globalThis.window, "online"],
      [globalThis.window, "pageshow"],
      [globalThis.document, "visibilitychange"],
    ]);
    for (const [target, name] of targets) {
      target?.addEventListener(name, check);
      this.#cleanups.push(() => target?.removeEventListener(name, check));
    }
    (globalThis.__BRANCHLINE__ ??= new Set()).add(this);
    const { offline } = this.#session;
    if (offline) offline.start();
    else this.#session.lead();
  }

  // The connection.

  /** How the client stands to the server; the table is in `clients/CONTRACT.md`. */
  get state() {
    return this.#session.state;
  }

  /** Why the state is what it is. */
  get reason() {
    return this.#session.reason;
  }

  /** What has ended the client: `stopped` or `principal_changed`; null while it goes on. */
  get error() {
    return this.#session.error;
  }

  /** Whom the server takes this client for; null until it has said so. */
  get principal() {
    return this.#session.principal;
  }

  /** Whether it works without a connection until `resume`, by this tab's will or another's. */
  get isPaused() {
    return !!this.#session.isPaused;
  }

  /** Whether this tab has the connection for all of them. */
  get leads() {
    return this.#session.leads;
  }

  /** Drafts, the import of old data and what else belongs to `branchline/offline`; null without it. */
  get offline() {
    return this.#session.offline;
  }

  /** What is followed here, each topic up to its position: for whoever looks into a page. @returns {[topic: string, position: Position | null][]} */
  get topics() {
    return [...this.#session.subscriptions.entries.values()].map(({ spec, mirror }) => [spec.topic, mirror.position]);
  }

  /** The time by the server's clock, in Unix milliseconds. */
  now() {
    return this.#session.now();
  }

  /**
   * Calls back: `state` (state, reason), `change` (change, topic) of every topic that is followed, `writes` when the queue, the
   * inbox or the losses are others, `refused` (entry), `lost` (loss), `rejected` (message), `purge` (topics). Gives what stops it.
   * @template {keyof Session["events"]} E
   * @param {E} event
   * @param {(...told: Parameters<Session["events"][E]["tell"]>) => void} fn
   * @returns {() => void}
   */
  on(event, fn) {
    return /** @type {any} */ (this.#session.events[event]).on(fn);
  }

  /** Waits until the connection is live, or polling has taken its place. Raises what has ended the client. */
  async ready() {
    await this.#until(() => ["live", "leaving", "polling"].includes(this.state));
  }

  /** Goes on with another token, of the same person. @param {TokenSource} token */
  signIn(token) {
    const session = this.#session;
    session.api.replace(token);
    if (session.leads) session.connection.post("sign_in");
    else session.offline?.take();
  }

  /** Ends the client, and deletes all that is kept of this person on this device, unsent writes too: look at `pending` first. */
  async signOut() {
    await this.close();
    await this.#session.offline?.clear();
  }

  /** Does not wait for the next try: the network is back. */
  online() {
    this.#session.wake();
  }

  /** Works without a connection until `resume`, as if the network were gone: this tab, and those that share its connection. With `offline` a reload does not end it. */
  pause() {
    this.#session.pause(true);
  }

  /** Connects again after `pause`. */
  resume() {
    this.#session.pause(false);
  }

  /** Ends: live collections keep what they show, writes that are not sent stay where they are kept. */
  async close() {
    const session = this.#session;
    globalThis.__BRANCHLINE__?.delete(this);
    session.connection.post("close", "closed");
    session.pusher.stop();
    for (const each of [...session.lives, ...session.presences]) each.close();
    for (const cleanup of this.#cleanups) cleanup();
    await session.offline?.close();
  }

  // Reading.

  /**
   * Gives a live collection: `client.live("leads", { where: { status: ["new", "won"] }, sort: "-created_at" })`. `sort` names
   * fields: `name`, `-created_at`, `-amount:numeric` (decimal numbers come as text). With `id` it holds that one record.
   * @template {NameOf<S>} C
   * @param {C} collection
   * @param {LiveOptions<S[C]>} [options]
   * @returns {LiveCollection<S[C]>}
   */
  live(collection, { sort, ...rest } = {}) {
    return new LiveCollection(this.#session, topicOf(collection, rest), sort);
  }

  /**
   * Calls back with every change of a topic from now on; `*` is everything. Gives what stops it.
   * @template {NameOf<S>} C
   * @param {C | "*"} collection
   * @param {(change: Change) => void} fn
   * @param {TopicOptions<S[C]>} [options]
   */
  changes(collection, fn, options) {
    const { subscriptions } = this.#session;
    const nothing = () => {};
    const listener = {
      is_live: false,
      replaced: nothing,
      advanced: (/** @type {Change[]} */ changes) => changes.forEach((change) => fn(change)),
      went_live: nothing,
      interrupted: nothing,
      ended: nothing,
    };
    const entry = subscriptions.follow(topicOf(collection, options), listener);
    return () => subscriptions.unfollow(entry, listener);
  }

  /**
   * Calls the API as the signed-in person: a path such as `/api/leads?limit=10`. Raises BranchlineError with the server's code.
   * @param {string} method
   * @param {string} path
   * @param {unknown} [body]
   */
  async request(method, path, body) {
    if (this.#session.isPaused) throw new BranchlineError("unreachable", "the client is paused: call client.resume()");
    return this.#session.api.request(method, path, body);
  }

  // Writing.

  /**
   * Inserts a record; its id is made here unless it is given.
   * @template {NameOf<S>} C
   * @param {C} collection
   * @param {FieldsOf<S[C]>} fields
   * @param {{ id?: string }} [options]
   * @returns {Write}
   */
  insert(collection, fields, { id = uuidv7() } = {}) {
    return this.#session.writer.write("insert", collection, id, fields);
  }

  /**
   * Changes some fields of a record. `mode` "merge": each field for itself, the later write wins; "strict": all or nothing, refused if
   * the record has moved; without one the server decides. `base_version` is what the author has seen; by default, what is shown.
   * @template {NameOf<S>} C
   * @param {C} collection
   * @param {string} id
   * @param {FieldsOf<S[C]>} fields
   * @param {{ mode?: Mode, base_version?: number }} [options]
   * @returns {Write}
   */
  update(collection, id, fields, { mode, base_version = this.#session.versionOf(collection, id) } = {}) {
    return this.#session.writer.write("update", collection, id, fields, { mode, base_version });
  }

  /** Deletes a record. @param {NameOf<S>} collection @param {string} id @param {{ mode?: Mode }} [options] @returns {Write} */
  delete(collection, id, { mode } = {}) {
    return this.#session.writer.write("delete", collection, id, {}, { mode, base_version: this.#session.versionOf(collection, id) });
  }

  /** Writes on their way, oldest first; `stage` says how far they are. @returns {readonly Pending[]} */
  get queue() {
    return [...this.#session.writer.queue.pending.values()];
  }

  /** How many writes the server has not answered. */
  get pending() {
    return this.#session.writer.queue.size;
  }

  /** Whether a write is not even kept on this device yet: the one reason to warn on closing the window. */
  get isUnsafe() {
    const { offline } = this.#session;
    const isKept = (/** @type {Pending} */ pending) => offline?.keeps(pending);
    return this.queue.some((pending) => pending.stage !== "answered" && !isKept(pending));
  }

  /** Waits until the server has answered every write. Raises what has ended the client. */
  async drain() {
    await this.#until(() => !this.pending);
  }

  /** Refused writes, each with its value, oldest first. They stay until they are retried or discarded. @returns {InboxEntry[]} */
  get inbox() {
    return [...this.#session.writer.inbox.values()].sort((a, b) => a.at_ms - b.at_ms);
  }

  /** Writes an entry of the inbox again, with other `fields` if some are given, and after it what was set aside because of it. @param {string} entry_id @param {Fields} [fields] */
  retry(entry_id, fields) {
    return this.#session.writer.retry(entry_id, fields);
  }

  /** Takes an entry out of the inbox for good. @param {string} entry_id */
  discard(entry_id) {
    return this.#session.writer.discard({ inbox_gone: [entry_id] });
  }

  /** Values of this person's that others have replaced, oldest first. They stay until dismissed or restored. @returns {Loss[]} */
  get lost() {
    return [...this.#session.writer.losses.values()].sort((a, b) => a.at_ms - b.at_ms);
  }

  /** Forgets a loss here and on the server: its author has seen it. @param {Loss} loss */
  async dismiss(loss) {
    await Promise.all([this.#session.seen(loss), this.#session.writer.discard({ losses_gone: [loss.id] })]);
  }

  /** Writes my value again, and forgets the loss. A delete that was not done is done again. @param {Loss} loss @returns {Write} */
  restore(loss) {
    const { collection, record_id, field, mine } = /** @type {any} */ (loss);
    const write = field === "*" ? this.delete(collection, record_id) : this.update(collection, record_id, /** @type {any} */ ({ [field]: mine }));
    void write.local.catch(() => write.server).then(() => this.dismiss(loss)).catch(() => {});
    return write;
  }

  // Other people.

  /**
   * Asks who is on a topic.
   * @template {NameOf<S>} C
   * @param {C} collection
   * @param {TopicOptions<S[C]>} [options]
   * @returns {Presence<S[C]>}
   */
  presence(collection, options) {
    return new Presence(this.#session, topicOf(collection, options));
  }

  /** Says that a change is on the screen; a share of these is reported, for the commit-to-screen figures. @param {Change} change */
  shown({ offset }) {
    if (Math.random() < (this.#session.options.receipts ?? 0)) {
      this.#session.post({ type: "receipt", offset, shown_at_ms: Math.round(this.now()) });
    }
  }

  /** @param {() => unknown} condition @returns {Promise<void>} */
  #until(condition) {
    return new Promise((resolve, reject) => {
      const look = () => {
        if (!condition() && !this.error) return;
        for (const stop of stops) stop();
        if (this.error) reject(this.error);
        else resolve();
      };
      const stops = [this.on("state", look), this.on("writes", look)];
      look();
    });
  }
}
