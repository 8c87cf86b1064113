/** The connection: carries out what the table of states says, and tells it what has happened. */

import { expiresAt } from "./api.js";
import { awayDelayMs, blockedDelayMs, delayMs } from "./backoff.js";
import { closeEvent } from "./codes.js";
import { BranchlineError, isError } from "./errors.js";
import { step } from "./states.js";

/** @import { State } from "./types.js" */
/** @import { Action, Event } from "./states.js" */
/** @import { Api } from "./api.js" */
/** @import { RetryPolicy } from "./backoff.js" */

export const SUBPROTOCOL = "branchline.v1";
/** For the socket and `ready`; with the silence before, a dead line is replaced within 20 s. */
const READY_MS = 8_000;
const RENEW_BEFORE_MS = 60_000;
const WATCH_MS = 500;

/**
 * Who uses the connection. `poll` fetches changes by HTTP until the signal; it raises what ends that.
 * @typedef {{
 *   hello(token: string): object,
 *   signedIn(ready: any): boolean,
 *   connected(): void,
 *   disconnected(): void,
 *   heard(message: any): void,
 *   stateChanged(state: State, reason: string): void,
 *   poll(signal: AbortSignal): Promise<void>,
 *   now(): number,
 * }} Owner
 * @typedef {{ gateway_url?: string | undefined, sockets?: boolean | undefined, silence_ms: number,
 *   openSocket?: ((url: string, protocol: string) => WebSocket) | undefined }} ConnectionOptions
 */

export class Connection {
  /** @type {State} */ state = "idle";
  /** Why the state is what it is; of a close, the server's words. */
  reason = "";
  /** The close code or HTTP status of the last end. */
  code = 0;
  #attempt = 0;
  #blockedTimes = 0;
  /** Since when no socket has opened. */ #withoutSince = 0;
  #triedAt = 0;
  /** @type {number | undefined} */ #named_ms;
  #token = "";
  #url = "";
  /** @type {WebSocket | null} */ #socket = null;
  /** Counts the undertakings: what an earlier one brings is not heard any more. */
  #turn = 0;
  /** @type {AbortController | null} */ #polling = null;
  /** @type {any} */ #due;
  /** @type {any} */ #deadline;
  /** @type {any} */ #renewal;
  /** @type {any} */ #watch;
  /** @type {any} */ #pacing;
  /** @type {object[]} */ #waiting = [];
  #gap_ms = 0;
  #slot = 0;
  #heardAt = 0;
  #owner;
  #api;
  #policy;
  #options;

  /** @param {Owner} owner @param {Api} api @param {RetryPolicy} policy @param {ConnectionOptions} options */
  constructor(owner, api, policy, options) {
    this.#owner = owner;
    this.#api = api;
    this.#policy = policy;
    this.#options = options;
  }

  /** Whether messages reach the server. */
  get isLive() {
    return this.state === "live" || this.state === "leaving";
  }

  /** Sends a message if there is a live socket; says whether there was. @param {object} message */
  send(message) {
    if (this.isLive) this.#send(message);
    return this.isLive;
  }

  /** Asks whether the line is alive, now and not when its time comes. */
  check() {
    if (this.isLive) this.#heardAt = Math.min(this.#heardAt, performance.now() - this.#options.silence_ms / 2);
    else this.post("online");
  }

  /**
   * Tells what has happened; what follows has begun when this returns.
   * @param {Event} event
   * @param {string} [reason]
   */
  post(event, reason = event) {
    const old = this.state;
    const [state, ...actions] = step(old, event);
    this.state = state;
    if (state !== old) this.reason = reason;
    for (const action of actions) this.#perform(action);
    if (state !== old) this.#owner.stateChanged(state, this.reason);
  }

  /** @param {Action} action */
  #perform(action) {
    const policy = this.#policy;
    const chance = Math.random();
    switch (action) {
      case "ask_token":
        return void this.#askToken();
      case "open":
        this.#attempt++;
        return void this.#open();
      case "authenticate":
        return this.#send(this.#owner.hello(this.#token));
      case "subscribe":
        this.#attempt = this.#blockedTimes = this.#withoutSince = 0;
        return this.#owner.connected();
      case "drop":
        return this.#drop();
      case "back_off":
        return this.#wait(Math.min(delayMs(policy, this.#attempt, chance), this.#untilBlocked()));
      case "back_off_lost":
        return this.#wait(chance * policy.lost_ms);
      case "back_off_silent":
        return this.#wait(chance * policy.silent_ms);
      case "back_off_away":
        this.#wait(awayDelayMs(policy, this.#named_ms, chance));
        this.#named_ms = undefined;
        return;
      case "forget_token":
        this.#api.refuse(this.#token);
        this.#token = "";
        return;
      case "poll":
        void this.#poll();
        return this.#wait(blockedDelayMs(policy, ++this.#blockedTimes, chance));
      case "stop_timer":
        clearTimeout(this.#due);
    }
  }

  /** How long until the next socket that does not open has it poll: for that try the backoff waits no longer. */
  #untilBlocked() {
    const left_ms = this.#withoutSince + this.#policy.blocked_ms - performance.now();
    return this.#withoutSince && !this.#blockedTimes && left_ms > 0 ? Math.ceil(left_ms) : Infinity;
  }

  /** @param {number} delay_ms */
  #wait(delay_ms) {
    clearTimeout(this.#due);
    this.#due = setTimeout(() => this.post("due"), delay_ms);
  }

  /** Ends the socket and whatever else is under way; a browser's own close of a dead line takes a minute. */
  #drop() {
    this.#turn++;
    for (const timer of [this.#deadline, this.#renewal, this.#pacing]) clearTimeout(timer);
    clearInterval(this.#watch);
    this.#pacing = 0;
    this.#waiting = [];
    this.#polling?.abort();
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    // Browsers complain of one that is closed before it has opened.
    if (socket.readyState) socket.close();
    else socket.onopen = () => socket.close();
    this.#owner.disconnected();
  }

  // What takes time. Each tells by an event how it ended, if it still matters.

  async #askToken() {
    const turn = ++this.#turn;
    try {
      this.#token = await this.#api.getToken();
      if (turn === this.#turn) this.post("token");
    } catch (error) {
      if (turn !== this.#turn) return;
      if (!isError(error, "needs_auth")) this.#attempt++;
      this.post(isError(error, "needs_auth") ? "no_token" : "token_failed", String(error));
    }
  }

  async #open() {
    const turn = ++this.#turn;
    const { gateway_url, sockets = true } = this.#options;
    this.#triedAt = performance.now();
    this.#deadline = setTimeout(() => this.#tooLate(), READY_MS);
    try {
      // What follows is an event of its own.
      await null;
      if (!sockets && turn === this.#turn) return this.post("blocked", "sockets are switched off");
      this.#url ||= gateway_url ?? (await this.#config()).gateway_url;
    } catch (error) {
      if (turn === this.#turn) this.post("unreachable", String(error));
      return;
    }
    if (turn !== this.#turn) return;
    try {
      const { openSocket = (url, protocol) => new WebSocket(url, protocol) } = this.#options;
      this.#listen(openSocket(this.#url, SUBPROTOCOL));
    } catch (error) {
      this.post("ended", `${this.#url} is no address for a socket: ${error}`);
    }
  }

  /** @param {WebSocket} socket */
  #listen(socket) {
    this.#socket = socket;
    let isOpen = false;
    socket.onopen = () => {
      isOpen = true;
      this.#gap_ms = 0;
      this.post("opened");
      this.#startWatch();
    };
    socket.onmessage = ({ data }) => {
      this.#heardAt = performance.now();
      this.#hear(JSON.parse(data));
    };
    socket.onclose = ({ code, reason }) => {
      this.code = code;
      if (isOpen) this.post(closeEvent(code), reason || `the socket closed with ${code}`);
      else void this.#notOpened();
    };
  }

  /** Some proxies never answer a socket: that is no other than one that is refused. */
  #tooLate() {
    const isOpening = this.state === "connecting" && this.#socket;
    if (!isOpening) return this.post("unreachable", `no ready within ${READY_MS} ms`);
    this.#drop();
    void this.#notOpened();
  }

  async #notOpened() {
    const turn = this.#turn;
    // Perhaps the gateway's address has changed.
    this.#url = "";
    this.#withoutSince ||= this.#triedAt;
    if (this.#blockedTimes || performance.now() - this.#withoutSince >= this.#policy.blocked_ms) {
      const answers = await this.#config().catch(() => null);
      if (turn !== this.#turn) return;
      if (answers) return this.post("blocked", "sockets do not get through");
    }
    this.post("unreachable", "the socket did not open");
  }

  #config() {
    return this.#api.send("GET", "/api/client-config");
  }

  async #poll() {
    const { signal } = (this.#polling = new AbortController());
    try {
      await this.#owner.poll(signal);
    } catch (error) {
      if (signal.aborted) return;
      this.code = error instanceof BranchlineError ? error.status : 0;
      this.post(isError(error, "needs_auth") ? "refused" : "ended", String(error));
    }
  }

  // The socket.

  /** Below half of what a person's sockets may send together: at most a second's worth at once. @param {object} message */
  #send(message) {
    this.#waiting.push(message);
    this.#flush();
  }

  #flush = () => {
    const now = performance.now();
    clearTimeout(this.#pacing);
    while (this.#waiting.length && this.#socket) {
      this.#slot = Math.max(this.#slot, now - 1000) + this.#gap_ms;
      if (this.#slot > now) {
        this.#slot -= this.#gap_ms;
        this.#pacing = setTimeout(this.#flush, this.#slot + this.#gap_ms - now);
        return;
      }
      this.#socket.send(JSON.stringify(this.#waiting.shift()));
    }
  };

  /** Asks after half of the time; a socket that has not answered in the other half is dead. */
  #startWatch() {
    const half = this.#options.silence_ms / 2;
    let askedAt = 0;
    let watchedAt = performance.now();
    this.#heardAt = watchedAt;
    clearInterval(this.#watch);
    this.#watch = setInterval(() => {
      const now = performance.now();
      const stoodStill = now - watchedAt > WATCH_MS + half / 2;
      watchedAt = now;
      if (askedAt && this.#heardAt >= askedAt) askedAt = 0;
      // This page stood still, or the machine slept: the answer may have come and is still unread.
      if (askedAt && stoodStill) askedAt = now;
      else if (askedAt && now - askedAt >= half) this.post("silent", `nothing was heard for ${2 * half} ms`);
      else if (!askedAt && now - this.#heardAt >= half) {
        askedAt = now;
        this.#waiting.unshift({ type: "ping", sent_at_ms: Date.now() });
        this.#flush();
      }
    }, WATCH_MS);
  }

  /** @param {any} message */
  #hear(message) {
    if (message.type === "ready") this.#ready(message);
    else if (message.type === "goaway") {
      this.#named_ms = message.reconnect_after_ms;
      this.post("goaway");
    } else this.#owner.heard(message);
  }

  /** @param {any} ready */
  #ready(ready) {
    if (this.state !== "authenticating") return;
    clearTimeout(this.#deadline);
    if (!this.#owner.signedIn(ready)) return this.post("ended", "the token is another person's, or of another organisation");
    this.#api.accept();
    this.#gap_ms = 2000 / (ready.limits?.messages_per_second || Infinity);
    this.#planRenewal();
    this.post("ready");
  }

  // Tokens that end.

  #planRenewal() {
    const ends = expiresAt(this.#token);
    const left = (ends ?? 0) - this.#owner.now();
    clearTimeout(this.#renewal);
    // Timers hold 31 bits of milliseconds.
    if (ends) this.#renewal = setTimeout(() => this.renew(), Math.min(Math.max(left - RENEW_BEFORE_MS, left / 2, 1000), 2 ** 31 - 1));
  }

  /** Sends a fresh token on the same socket. */
  async renew() {
    const token = await this.#api.renew().catch(() => "");
    if (token && this.isLive) {
      this.#token = token;
      this.#send(this.#owner.hello(token));
    }
    if (this.isLive) this.#planRenewal();
  }
}
