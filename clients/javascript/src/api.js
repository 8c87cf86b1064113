/** The HTTP side: tokens, and requests that have a deadline. */

import { BranchlineError, isError } from "./errors.js";

/** @import { TokenSource } from "./types.js" */

const REQUEST_MS = 5_000;
const TOKEN_CODES = ["not_authenticated", "token_malformed", "token_refused", "token_expired", "session_ended"];

/** When a token ends, in Unix milliseconds; undefined if it does not say. @param {string} token @returns {number | undefined} */
export function expiresAt(token) {
  try {
    const { exp } = JSON.parse(atob((token.split(".")[1] ?? "").replace(/-/g, "+").replace(/_/g, "/")));
    return exp * 1000 || undefined;
  } catch {
    return undefined;
  }
}

const needsAuth = (why = "nobody is signed in") => new BranchlineError("needs_auth", `${why}: call client.signIn(token)`);

export class Api {
  /** The token in use. */
  token = "";
  /** Told of the server's time with each answer, to the second, and how long the way there and back took. @type {(server_ms: number, round_trip_ms: number) => void} */
  onDate = () => {};
  #refused = new Set();
  #refusals = 0;
  /** @type {Promise<string> | null} */ #asking = null;

  /**
   * @param {string} url the server's, "" for the page's own
   * @param {TokenSource} source
   * @param {typeof globalThis.fetch} [fetch]
   */
  constructor(url, source, fetch = (...request) => globalThis.fetch(...request)) {
    this.fetch = fetch;
    this.url = url.replace(/\/$/, "");
    this.source = source;
  }

  /** Uses another source from now on. @param {TokenSource} source */
  replace(source) {
    this.source = source;
    this.token = "";
    this.#refused.clear();
    this.#refusals = 0;
    this.#asking = null;
  }

  /** Gives a token that was not refused. Raises `needs_auth`, and what the callback raises. @returns {Promise<string>} */
  async getToken() {
    return this.token || (this.#asking ??= this.#ask(this.#refusals > 0).finally(() => (this.#asking = null)));
  }

  /** Asks for a token that lasts longer; "" if there is none. Raises what `getToken` raises. */
  async renew() {
    const old = this.token;
    return typeof this.source === "string" || (await this.#ask(true)) === old ? "" : this.token;
  }

  /** Notes that a token was refused: another one is asked for next time. @param {string} token */
  refuse(token) {
    if (!token || this.#refused.has(token)) return;
    this.#refused.add(token);
    if (token === this.token) {
      this.token = "";
      this.#refusals++;
    }
  }

  /** Notes that the server has taken the token. */
  accept() {
    this.#refusals = 0;
  }

  /** @param {boolean} renew */
  async #ask(renew) {
    const { source } = this;
    // Asking on would only knock at the door: the program has to sign somebody in.
    if (this.#refusals > 1) throw needsAuth("the server refused two tokens in a row");
    const token = typeof source === "string" ? source : await source({ renew });
    if (!token) throw needsAuth();
    if (this.#refused.has(token)) throw needsAuth("the server has refused this token");
    if (source === this.source) this.token = token;
    return token;
  }

  /**
   * Sends a request as the signed-in person, once more with another token if that one is refused. Raises `unreachable`,
   * `needs_auth`, and the server's own codes.
   * @param {string} method
   * @param {string} path such as `/api/leads?limit=10`
   * @param {unknown} [body]
   * @param {number} [timeout_ms]
   * @returns {Promise<any>}
   */
  async request(method, path, body, timeout_ms) {
    for (let isLast = false; ; isLast = true) {
      const token = await this.getToken();
      try {
        return await this.send(method, path, body, token, timeout_ms);
      } catch (error) {
        if (!TOKEN_CODES.some((code) => isError(error, code))) throw error;
        this.refuse(token);
        if (isLast) throw needsAuth(/** @type {Error} */ (error).message);
      }
    }
  }

  /**
   * Sends a request as nobody, or with a token.
   * @param {string} method
   * @param {string} path
   * @param {unknown} [body]
   * @param {string} [token]
   * @param {number} [timeout_ms]
   * @returns {Promise<any>}
   */
  async send(method, path, body, token, timeout_ms = REQUEST_MS) {
    /** @type {Record<string, string>} */ const headers = { accept: "application/json" };
    if (token) headers.authorization = `Bearer ${token}`;
    if (body !== undefined) headers["content-type"] = "application/json";
    const sentAt = performance.now();
    let response, data;
    try {
      response = await this.fetch(this.url + path, {
        method,
        headers,
        body: body === undefined ? null : JSON.stringify(body),
        cache: "no-store",
        signal: AbortSignal.timeout(timeout_ms),
      });
      data = await response.text();
    } catch (cause) {
      throw new BranchlineError("unreachable", `${method} ${path.split("?")[0]}: no answer from the server`, { cause });
    }
    const date = Date.parse(response.headers.get("date") ?? "");
    if (date) this.onDate(date + 500, performance.now() - sentAt);
    try {
      data = JSON.parse(data);
    } catch {
      data = null;
    }
    if (response.ok) return data;
    const { status } = response;
    throw new BranchlineError(data?.code ?? `http_${status}`, data?.detail || data?.title || `HTTP ${status}`, {
      status,
      retry_after_ms: 1000 * (Number(response.headers.get("retry-after")) || 0),
    });
  }
}
