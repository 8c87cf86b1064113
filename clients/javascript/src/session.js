/** The parts of an open client, and what flows between them. */

import { Api } from "./api.js";
import { POLICY, delayMs } from "./backoff.js";
import { Connection } from "./connection.js";
import { BranchlineError } from "./errors.js";
import { lossesIn, readLoss } from "./losses.js";
import { Pusher } from "./pusher.js";
import { callbacks } from "./signal.js";
import { Subscriptions } from "./subscriptions.js";
import { admits } from "./topic.js";
import { holds } from "./view.js";
import { Writer } from "./writer.js";

/** @import { Change, Fact, Fields, InboxEntry, Kept, Loss, Mutation, Principal, State } from "./types.js" */
/** @import { LiveCollection } from "./live.js" */
/** @import { Presence } from "./presence.js" */
/** @import { Entry } from "./subscriptions.js" */
/** @import { Options } from "./client.js" */

/** How far off the `Date` of an HTTP answer may be: it is to the second, and servers write it a while before. */
const DATE_MS = 5_000;

export class Session {
  /** @type {Principal | null} */ principal = null;
  connection_id = "";
  /** Why it has ended, or cannot go on. @type {BranchlineError | null} */ error = null;
  /** @type {Set<LiveCollection<any>>} */ lives = new Set();
  /** @type {Set<Presence<any>>} */ presences = new Set();
  /** Whether this tab has the connection; without tabs it has. */
  leads = true;
  /** Null until what is kept on this device, or somebody, has said it. @type {boolean | null} */ isPaused = null;
  /** How the connection stands, here or in the tab that leads. @type {State} */ state = "idle";
  reason = "";
  events = {
    state: /** @type {ReturnType<typeof callbacks<[State, string]>>} */ (callbacks()),
    change: /** @type {ReturnType<typeof callbacks<[Change, string]>>} */ (callbacks()),
    /** The queue, the inbox or the losses are others. */
    writes: /** @type {ReturnType<typeof callbacks<[]>>} */ (callbacks()),
    refused: /** @type {ReturnType<typeof callbacks<[InboxEntry]>>} */ (callbacks()),
    lost: /** @type {ReturnType<typeof callbacks<[Loss]>>} */ (callbacks()),
    rejected: /** @type {ReturnType<typeof callbacks<[{ code: string, message: string }]>>} */ (callbacks()),
    purge: /** @type {ReturnType<typeof callbacks<[string[]]>>} */ (callbacks()),
  };
  /** Whose work is kept here, `<user id> <organisation id>`, once it is known. */
  bound = "";
  /** What is announced on each topic, by whom here. @type {Map<string, Map<unknown, Fields>>} */ #announced = new Map();
  /** The ids by which the server knows a loss. */
  #ids = new Map();
  /** Losses that their author has seen: an answer that was on its way may still tell of them. @type {Set<string>} */ #seen = new Set();
  #identified = "";
  #helloAt = 0;
  /** Has the next poll come at once: there is something to fetch. */
  #isPollDue = false;
  #endPause = () => {};

  /** @param {Options} options @param {string} client_id */
  constructor(options, client_id) {
    const { offline = null, url = "", token, gateway_url, sockets, silence_ms = 12_000, transport } = options;
    this.options = options;
    this.offline = offline;
    this.policy = { ...POLICY, ...options.retry };
    if (this.policy.refused_tries < 3) throw new RangeError(`expected at least 3 tries, got ${this.policy.refused_tries}`);
    this.api = new Api(url, token, transport?.fetch);
    this.writer = new Writer(offline?.store ?? null, this.policy.refused_tries, client_id);
    this.connection = new Connection(this, this.api, this.policy, {
      gateway_url,
      sockets,
      silence_ms,
      openSocket: transport?.openSocket,
    });
    this.subscriptions = new Subscriptions((message) => this.connection.send(message) || this.#wakePoll(), this.policy);
    this.pusher = new Pusher(this.writer, this.api, this.policy, {
      mayPush: () => this.leads && !["idle", "needs-auth", "stopped"].includes(this.state),
      identify: () => this.#identify(),
      pushed: () => {
        this.#moved();
        this.#wakePoll();
      },
    });
    const { writer, subscriptions, events } = this;
    this.api.onDate = (server_ms, round_trip_ms) => this.#seeTime(server_ms, round_trip_ms, DATE_MS);
    writer.onTouched = (mutations) => this.#touched(mutations);
    writer.onKept = () => this.pusher.kick();
    writer.onRefused = events.refused.tell;
    writer.onLost = events.lost.tell;
    subscriptions.onChanges = (changes, entry) => this.#changes(changes, entry);
    subscriptions.onFacts = () => this.#moved();
    subscriptions.onSubscribed = ({ spec }) => this.askRoster(spec.topic);
    offline?.attach(this);
  }

  /** Begins to connect, for all tabs if there are several. */
  lead() {
    this.leads = true;
    this.subscriptions.delegate = null;
    if (this.isPaused) return this.setState("idle", "paused");
    this.connection.post("start");
    this.pusher.kick(true);
  }

  /** Leaves the connection to another tab: topics are asked for there. @param {(entry: Entry) => void} ask */
  follow(ask) {
    this.leads = false;
    this.connection.post("close", "another tab leads");
    this.subscriptions.delegate = ask;
    this.subscriptions.connected();
  }

  /** Works without a connection until it is told otherwise. @param {boolean} isPaused @param {boolean} [isTold] by another tab, or the disk */
  pause(isPaused, isTold) {
    const was = this.isPaused;
    if (isPaused === was) return;
    this.isPaused = isPaused;
    if (!isTold) {
      this.offline?.post({ type: "pause", isPaused });
      // Where this device keeps nothing it ends with the page; the queue says so.
      void this.offline?.store.keep({ is_paused: isPaused }).catch(() => {});
    }
    if (!this.leads) return;
    if (isPaused) this.connection.post("close", "paused");
    else if (was) this.lead();
  }

  /** Does not wait for the next try. */
  wake() {
    if (!this.leads) return void this.offline?.post({ type: "wake" });
    this.connection.check();
    this.pusher.kick(true);
  }

  // For the connection.

  now() {
    return this.writer.now();
  }

  /** @param {string} token */
  hello(token) {
    this.#helloAt = performance.now();
    return { type: "authenticate", token, client_id: this.writer.client_id, receipts: this.options.receipts ? true : undefined };
  }

  /** Takes `ready`; false if this is another person than the one whose work is kept here. @param {any} ready */
  signedIn({ principal, connection_id, server_time_ms }) {
    this.connection_id = connection_id;
    if (!this.#isBoundTo(principal)) return false;
    this.#identified = this.api.token;
    this.#seeTime(server_time_ms, performance.now() - this.#helloAt);
    return true;
  }

  /**
   * Takes whether the client was paused, and who this person was at the last connection, until the server says it anew: what they may
   * write is offered without a network too.
   * @param {Kept} kept
   */
  recall({ principal, is_paused }) {
    if (this.isPaused === null) this.pause(is_paused, true);
    if (this.principal || !principal) return;
    this.principal = principal;
    this.setState(this.state, this.reason);
  }

  connected() {
    this.subscriptions.connected();
    void this.fetchLosses();
  }

  disconnected() {
    this.subscriptions.disconnected();
    for (const presence of this.presences) presence.interrupted();
  }

  /** @param {State} state @param {string} reason */
  stateChanged(state, reason) {
    const { code } = this.connection;
    if (state === "stopped") this.error ??= new BranchlineError("stopped", reason, { status: code });
    else if (state === "authorizing") this.error = null;
    this.setState(state, reason);
    if (state === "live" || state === "polling") this.pusher.kick(true);
  }

  /** Takes note of a state, of the connection here or in the tab that leads. @param {State} state @param {string} reason */
  setState(state, reason) {
    this.state = state;
    this.reason = reason;
    this.events.state.tell(state, reason);
    if (this.leads) this.offline?.stateChanged();
  }

  /** @param {AbortSignal} signal */
  async poll(signal) {
    const { bringForward } = await import("./polling.js");
    const { poll_ms = 30_000 } = this.options;
    for (let failures = 0; !signal.aborted; ) {
      this.#isPollDue = false;
      try {
        if (!(await this.#identify())) return;
        await bringForward(this.api, this.subscriptions);
        failures = 0;
      } catch (error) {
        if (!(error instanceof BranchlineError) || error.code !== "unreachable") throw error;
        failures++;
      }
      const delay_ms = failures ? delayMs(this.policy, failures, Math.random()) : poll_ms;
      if (!this.#isPollDue || failures) await this.#pause(delay_ms, signal);
    }
  }

  /** @param {number} delay_ms @param {AbortSignal} signal */
  async #pause(delay_ms, signal) {
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, delay_ms);
      this.#endPause = () => {
        clearTimeout(timer);
        resolve(null);
      };
      signal.addEventListener("abort", this.#endPause);
    });
    signal.removeEventListener("abort", this.#endPause);
  }

  #wakePoll() {
    this.#isPollDue = true;
    this.#endPause();
    return false;
  }

  /** Takes a message of the socket. @param {any} message */
  heard(message) {
    const { type } = message;
    if (type === "pong") return this.#seeTime(message.server_time_ms, Date.now() - message.sent_at_ms);
    if (type === "presence" || type === "signal") return this.#presence(message);
    if (type === "purge") return void this.#purge(message.topics);
    const isTopics = this.subscriptions.hear(message);
    if (type !== "rejected") return;
    if (message.reaction === "reauthenticate") void this.connection.renew();
    if (!isTopics) this.events.rejected.tell(message);
  }

  // For live collections and presence.

  /** Fields that the server gives to a new record of this person's. @returns {Fields} */
  defaults = () => {
    const branch_ids = this.principal?.branch_ids;
    return branch_ids?.length === 1 ? { branch_id: branch_ids[0] } : {};
  };

  /** The newest version of a record that this person can have seen. @param {string} collection @param {string} id @returns {number | undefined} */
  versionOf(collection, id) {
    const entries = [...this.subscriptions.entries.values()].filter(({ mirror }) => mirror.collection === collection);
    const versions = entries.flatMap(({ mirror }) => mirror.records.get(id)?.version ?? []);
    return this.writer.queue.seenVersion(`${collection}/${id}`, versions.length ? Math.max(...versions) : undefined);
  }

  /** Sends a message on the socket; says whether there was one. @param {object} message */
  post(message) {
    if (this.leads) return this.connection.send(message);
    this.offline?.post({ type: "send", message });
    return this.state === "live";
  }

  /** Announces a state on a topic, and keeps it for the next connection. @param {string} topic @param {Fields | null} state @param {unknown} [by] which tab */
  announce(topic, state, by = "") {
    const states = this.#announced.get(topic) ?? new Map();
    this.#announced.set(topic, states);
    states.delete(by);
    if (state) states.set(by, state);
    if (!this.leads) return void this.offline?.post({ type: "announce", topic, state });
    this.connection.send({ type: "announce", topic, state: [...states.values()].pop() ?? null });
  }

  /** The topic is followed anew: a roster comes, and nobody has heard of oneself yet. @param {string} topic */
  askRoster(topic) {
    for (const { spec, roster } of this.presences) if (spec.topic === topic) roster.isFresh = true;
    const state = [...(this.#announced.get(topic)?.values() ?? [])].pop();
    if (!this.leads && state) this.offline?.post({ type: "announce", topic, state });
    else if (state) this.connection.send({ type: "announce", topic, state });
  }

  /** Gives news of presence, or a signal, to who asked for it. @param {string} topic as it was asked for @param {any} message */
  present(topic, message) {
    for (const presence of this.presences) if (presence.spec.topic === topic) presence.heard(message);
  }

  /** Tells the server that its author has seen a loss. @param {Loss} loss */
  async seen({ id, kind }) {
    if (kind !== "overwritten") return;
    this.#seen.add(id);
    if (!this.#ids.has(id)) await this.fetchLosses();
    if (this.#ids.has(id)) await this.api.request("POST", "/api/overwritten/seen", { ids: [this.#ids.get(id)] });
  }

  /** Forgets topics, as the server or the program writes them. @param {string[]} topics */
  forget(topics) {
    const isNamed = (/** @type {Entry} */ { spec, feed }) => topics.includes(spec.topic) || topics.includes(feed.canonical ?? "");
    const entries = [...this.subscriptions.entries.values()].filter(isNamed);
    for (const { mirror, feed, listeners } of entries) {
      mirror.replace([], null);
      feed.forget();
      for (const listener of listeners) if (this.lives.has(/** @type {any} */ (listener))) /** @type {LiveCollection} */ (listener).purged();
    }
    this.events.purge.tell(topics);
    return entries;
  }

  async fetchLosses() {
    const { items } = await this.api.request("GET", "/api/overwritten").catch(() => ({ items: [] }));
    const losses = items.map((/** @type {any} */ item) => {
      const loss = readLoss(item);
      this.#ids.set(loss.id, item.id);
      return loss;
    });
    await this.writer.noteLosses(losses.filter((/** @type {Loss} */ { id }) => !this.#seen.has(id)));
  }

  // Parts.

  /** @param {any} message */
  #presence(message) {
    for (const { spec } of this.subscriptions.of(message.topic)) {
      this.present(spec.topic, message);
      this.offline?.post({ type: "present", topic: spec.topic, message });
    }
  }

  /** @param {string[]} topics */
  async #purge(topics) {
    const concerns = this.#concernedBy(topics);
    const entries = this.forget(topics);
    const names = [...topics, ...entries.map(({ spec }) => spec.topic)];
    const collections = names.map((topic) => /** @type {string} */ (topic.split(/[?/]/)[0]));
    this.offline?.post({ type: "purge", topics: names });
    await this.offline?.forget(names, collections);
    await this.writer.setAside(concerns, "access_lost", "access to this record was lost");
    this.connection.send({ type: "purged", topics });
  }

  /** The test for writes of records that some topics show, as far as this client can tell. @param {string[]} topics @returns {(mutation: Mutation) => boolean} */
  #concernedBy(topics) {
    const entries = [...this.subscriptions.entries.values()].filter(
      ({ spec, feed }) => topics.includes(spec.topic) || topics.includes(feed.canonical ?? ""),
    );
    const shown = new Set(entries.flatMap(({ mirror }) => [...mirror.records.keys()].map((id) => `${mirror.collection}/${id}`)));
    return ({ collection, id, operation, fields }) =>
      shown.has(`${collection}/${id}`) ||
      topics.some((topic) => topic === "*" || topic === collection || topic === `${collection}/${id}`) ||
      (operation === "insert" && entries.some(({ spec }) => spec.collection === collection && admits(spec.conditions, fields)));
  }

  /** @param {Mutation[]} mutations */
  #touched(mutations) {
    /** @type {Map<string, Set<string>>} */ const ids = new Map();
    for (const { collection, id } of mutations) ids.set(collection, (ids.get(collection) ?? new Set()).add(id));
    for (const live of [...this.lives]) {
      const own = ids.get(live.spec.collection);
      if (own) live.touched(own);
    }
    this.events.writes.tell();
  }

  /** @param {Change[]} changes @param {Entry} entry */
  #changes(changes, { mirror, spec }) {
    for (const change of changes) {
      this.writer.see(change.clock);
      for (const id of change.mutation_ids ?? [change.mutation_id]) {
        if (id && this.writer.queue.pending.has(id)) mirror.confirmed.add(id);
      }
      this.events.change.tell(change, spec.topic);
    }
    if (this.principal && this.leads) void this.writer.noteLosses(lossesIn(changes, this.principal.user_id));
  }

  /** What the server shows has moved, or writes were answered: some may be held by every copy now. */
  #moved() {
    if (!this.leads) return;
    const mirrors = [...this.subscriptions.entries.values()].filter(({ feed }) => feed.first !== "now").map(({ mirror }) => mirror);
    this.writer.release((pending) =>
      mirrors.every((mirror) => mirror.collection !== pending.mutation.collection || holds(mirror, pending)),
    );
  }

  /** @param {number} server_ms @param {number} round_trip_ms @param {number} [error_ms] */
  #seeTime(server_ms, round_trip_ms, error_ms) {
    if (this.leads && server_ms) this.writer.seeServerTime(server_ms, round_trip_ms, error_ms);
  }

  /** Whether what is kept here is this principal's; it becomes so if it is nobody's yet. @param {Principal} principal */
  #isBoundTo(principal) {
    const mine = `${principal.user_id} ${principal.organization_id}`;
    if (this.bound && this.bound !== mine) {
      this.error = new BranchlineError("principal_changed", "what is kept here is another person's: connect anew for this one");
      return false;
    }
    this.principal = principal;
    if (!this.bound) {
      this.bound = mine;
      this.offline?.signedIn(mine);
    }
    // What cannot be kept is asked of the server again; the queue says when this device keeps nothing.
    void this.offline?.store.keep({ principal }).catch(() => {});
    return true;
  }

  /** Makes sure whom the token stands for before anything is pushed with it. */
  async #identify() {
    const token = await this.api.getToken();
    if (token === this.#identified) return true;
    const wasKnown = this.principal !== null;
    if (!this.#isBoundTo(await this.api.request("GET", "/api/auth/me"))) {
      this.connection.post("ended", String(this.error));
      return false;
    }
    this.#identified = token;
    // Where it polls the state was told before this; the other tabs learn whose client it is in no other way.
    if (!wasKnown) this.setState(this.state, this.reason);
    return true;
  }
}
