/**
 * A small client of the Branchline gateway: one WebSocket, any number of topics, each kept complete.
 *
 * What it holds on to: a delta is applied only if its `from` is not beyond the topic's own position (I5);
 * after a break every topic resumes from its position; a socket that is silent for 12 s is given up.
 */

import { ServerClock, localNow } from "./clock.js";
import { Subscription } from "./subscription.js";

const PROTOCOL = "branchline.v1";
const SILENCE_MS = 12_000; // heads come more often than this, so silence means a dead line
const PING_EVERY_MS = 10_000;
const FIRST_PINGS = 4; // one a second at first: the quickest of a few tells the clock well
const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 15_000;
const LATER_MS = 30_000;

// What a close code asks for; every other one means: come back, with the positions that are held.
const STOP = [1000, 1002, 1003, 1007, 1009, 4502, 4504];
const COME_BACK_LATER = [1012, 4508, 4509];
const BRING_A_NEW_TOKEN = [4501, 4503];

/**
 * @typedef {"connecting" | "catching-up" | "live" | "reconnecting" | "offline" | "stopped"} State
 *
 * connecting    the first attempt              reconnecting  the line broke, the next attempt is on its way
 * catching-up   signed in, not yet complete    offline       nothing heard for 12 s, attempts go on
 * live          complete, and stays so         stopped       nothing more will be tried: `reason` says why
 */
export class Live {
  clock = new ServerClock();
  /** @type {State} */ state = "stopped";
  reason = "";
  principal = null;
  /** When the last message came, by `localNow`. */
  heardAt = 0;

  #url;
  #token;
  #onState;
  #clientId = randomUuid();
  #subscriptions = [];
  #socket = null;
  #ready = false; // signed in on this socket
  #refused = false; // the last token was not accepted
  #leaveAt = 0; // when a gateway that leaves wants us to connect again
  #failures = 0;
  #lastId = 0;
  #triedAt = 0;
  #pingedAt = 0;
  #pings = 0;
  #timers = { retry: 0, leave: 0, ask: 0, watch: 0 };

  /**
   * `token({renew})` gives an access token at each connection, a new one if `renew`; an error with
   * `permanent` set ends the attempts. `onState(live)` is told of each new state.
   */
  constructor({ url, token, onState }) {
    this.#url = url;
    this.#token = token;
    this.#onState = onState;
  }

  /** Follows a topic: `listener.replaced(records)` is the whole of it, `listener.changed(changes, wasLive)` what came. */
  subscribe(topic, listener) {
    const subscription = new Subscription(topic, listener);
    this.#subscriptions.push(subscription);
    if (this.#ready) this.#ask(subscription);
  }

  start() {
    this.heardAt = localNow();
    this.#timers.watch = setInterval(() => this.#watch(), 1_000);
    addEventListener("online", this.#retryNow);
    this.#setState("connecting");
    this.#connect();
  }

  stop(reason = "") {
    clearInterval(this.#timers.watch);
    removeEventListener("online", this.#retryNow);
    this.#drop();
    this.#failures = 0;
    this.#setState("stopped", reason);
  }

  /** The furthest position of any topic, or null. */
  get position() {
    const positions = this.#subscriptions.map((each) => each.position).filter(Boolean);
    return positions.reduce((a, b) => (a && a.offset >= b.offset ? a : b), null);
  }

  /** Shows the gateway a newer token of the same person, on the open socket. */
  renew(token) {
    if (this.#ready) this.#send({ type: "authenticate", token, client_id: this.#clientId });
  }

  // ── the line ────────────────────────────────────────────────────────────────────────────────

  async #connect() {
    this.#triedAt = localNow();
    const attempt = (this.#socket = {}); // holds the place until the token is there
    let token;
    try {
      token = await this.#token({ renew: this.#refused });
    } catch (error) {
      if (this.#socket !== attempt) return;
      return error.permanent ? this.stop(error.message) : this.#retry(this.#backoff(), error.message);
    }
    if (this.#socket !== attempt) return;
    const socket = (this.#socket = new WebSocket(this.#url, PROTOCOL));
    socket.onopen = () => {
      this.#pingedAt = localNow();
      this.#send({ type: "authenticate", token, client_id: this.#clientId });
    };
    socket.onmessage = ({ data }) => {
      this.heardAt = localNow();
      this.#received(JSON.parse(data));
    };
    socket.onclose = (event) => this.#closed(event);
  }

  #closed({ code, reason }) {
    this.#refused = BRING_A_NEW_TOKEN.includes(code);
    if (STOP.includes(code)) return this.stop(reason || `Closed by the server, ${code}`);
    if (!COME_BACK_LATER.includes(code)) return this.#retry();
    this.#retry(this.#leaveAt ? Math.max(0, this.#leaveAt - localNow()) : LATER_MS * (1 + Math.random() / 4));
  }

  /** Forgets the socket at once: on a dead line the browser's own close takes a minute. */
  #drop() {
    clearTimeout(this.#timers.retry);
    clearTimeout(this.#timers.leave);
    clearTimeout(this.#timers.ask);
    const socket = this.#socket;
    this.#socket = null;
    this.#ready = false;
    this.#leaveAt = 0;
    for (const subscription of this.#subscriptions) subscription.interrupt();
    if (socket instanceof WebSocket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
  }

  /** Full jitter: anywhere between now and a bound that doubles, so that a crowd does not come back in step. */
  #backoff() {
    return Math.random() * Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** this.#failures);
  }

  #retry(delayMs = this.#backoff(), reason = "") {
    this.#drop();
    this.#failures += 1;
    const silent = localNow() - this.heardAt > SILENCE_MS;
    this.#setState(silent || this.state === "offline" ? "offline" : "reconnecting", reason);
    this.#timers.retry = setTimeout(() => this.#connect(), delayMs);
  }

  #retryNow = () => {
    if (!this.#ready) this.#retry(0);
  };

  /** Once a second: finds a socket that is open only in name, and keeps the clock's offset fresh. */
  #watch() {
    const now = localNow();
    if (this.#socket && now - Math.max(this.heardAt, this.#triedAt) > SILENCE_MS) return this.#retry();
    if (!this.#ready && now - this.heardAt > SILENCE_MS) this.#setState("offline", this.reason);
    if (this.#ready && (this.#pings < FIRST_PINGS || now - this.#pingedAt > PING_EVERY_MS)) this.#ping();
  }

  #ping() {
    this.#pings += 1;
    this.#pingedAt = localNow();
    this.#send({ type: "ping", sent_at_ms: Math.round(this.#pingedAt) });
  }

  #send(message) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #setState(state, reason = "") {
    if (state === this.state && reason === this.reason) return;
    this.state = state;
    this.reason = reason;
    this.#onState(this);
  }

  // ── what arrives ────────────────────────────────────────────────────────────────────────────

  #received(message) {
    const hearers = this.#subscriptions.filter((each) => each.hears(message.topic));
    switch (message.type) {
      case "ready":
        return this.#welcomed(message);
      case "pong":
        return this.clock.observe(this.#pingedAt, this.heardAt, message.server_time_ms);
      case "subscribed":
        this.#subscriptions.find((each) => each.id === message.id)?.subscribed(message);
        break;
      case "snapshot":
        for (const each of hearers) each.snapshot(message);
        break;
      case "delta":
        for (const each of hearers) if (!each.delta(message)) this.#ask(each);
        break;
      case "head":
        for (const each of this.#subscriptions) if (!each.head(message)) this.#askAnew(each);
        break;
      case "unsubscribed":
        if (message.reason === "epoch") for (const each of hearers) this.#askAnew(each);
        if (message.reason === "revoked") this.#purge([message.topic]);
        break;
      case "purge":
        this.#purge(message.topics);
        this.#send({ type: "purged", topics: message.topics });
        break;
      case "goaway":
        this.#leaveAt = localNow() + message.reconnect_after_ms;
        this.#timers.leave = setTimeout(() => this.#retry(0), message.reconnect_after_ms);
        break;
      case "rejected":
        return this.#rejected(message);
    }
    this.#settle();
  }

  #welcomed({ principal, server_time_ms }) {
    this.clock.observe(this.#pingedAt, this.heardAt, server_time_ms);
    this.principal = principal;
    if (this.#ready) return; // the answer to a newer token
    this.#ready = true;
    this.#pings = 0;
    this.#refused = false;
    this.#setState("catching-up");
    this.#ping();
    for (const subscription of this.#subscriptions) this.#ask(subscription);
  }

  /** Subscribes, from the topic's position if it has one. Until the answer comes, the topic hears nothing. */
  #ask(subscription) {
    subscription.interrupt();
    subscription.id = ++this.#lastId;
    const since = subscription.position ?? undefined;
    this.#send({ type: "subscribe", id: subscription.id, topic: subscription.topic, since });
  }

  #askAnew(subscription) {
    subscription.forget();
    this.#ask(subscription);
  }

  #purge(topics) {
    for (const subscription of this.#subscriptions.filter((each) => topics.some((topic) => each.hears(topic)))) {
      subscription.listener.replaced([]);
      this.#askAnew(subscription); // what is still allowed comes back, and if nothing is we are told
    }
  }

  async #rejected({ id, reaction, message }) {
    const subscription = this.#subscriptions.find((each) => each.id === id);
    if (!subscription) return;
    if (reaction === "give_up") return this.stop(message);
    if (reaction === "resnapshot") return this.#askAnew(subscription);
    this.#failures += 1;
    if (reaction === "reauthenticate") this.renew(await this.#token({ renew: true }).catch(() => ""));
    this.#timers.ask = setTimeout(() => this.#ready && this.#ask(subscription), this.#backoff());
  }

  #settle() {
    if (!this.#ready) return;
    const complete = this.#subscriptions.every((each) => each.live);
    if (complete) this.#failures = 0;
    this.#setState(complete ? "live" : "catching-up");
  }
}

/** A random UUID; `crypto.randomUUID` is absent on plain http beyond localhost. */
function randomUuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
