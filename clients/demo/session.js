/** One person's login, and requests to the HTTP API in their name. */

const RENEW_BEFORE_MS = 60_000;

/** A refusal as the server worded it (RFC 9457), or the lack of an answer (`status` 0). */
export class Problem extends Error {
  constructor(status, { code = "", detail = "", title = "" } = {}) {
    super(detail || title || `HTTP ${status}`);
    this.status = status;
    this.code = code;
  }

  /** Asking again would not help. */
  get permanent() {
    return this.status >= 400 && this.status < 500 && this.status !== 429;
  }
}

/** Sends one request; JSON in, JSON out, `Problem` for everything that is not a success. */
export async function call(method, path, { body, token } = {}) {
  const headers = { accept: "application/json" };
  if (token) headers.authorization = `Bearer ${token}`;
  if (body) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  } catch {
    throw new Problem(0, { title: "The server cannot be reached" });
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Problem(response.status, answer);
  return answer;
}

export class Session {
  #password;
  #grant = null; // {access_token, refresh_token, …} with the moment it runs out
  #pending = null;

  constructor(email, password) {
    this.email = email;
    this.#password = password;
  }

  /** A token that is good for a minute at least. `renew` if the one at hand was refused. */
  async token({ renew = false } = {}) {
    if (this.#grant && !renew && this.#grant.expiresAt - performance.now() > RENEW_BEFORE_MS) {
      return this.#grant.access_token;
    }
    this.#pending ??= this.#obtain().finally(() => (this.#pending = null));
    return this.#pending;
  }

  /** When the token has to be renewed, in milliseconds from now. */
  get renewInMs() {
    return Math.max(1_000, this.#grant.expiresAt - performance.now() - RENEW_BEFORE_MS);
  }

  async request(method, path, body) {
    try {
      return await call(method, path, { body, token: await this.token() });
    } catch (problem) {
      if (problem.status !== 401) throw problem;
      return call(method, path, { body, token: await this.token({ renew: true }) });
    }
  }

  async end() {
    if (this.#grant) await call("POST", "api/auth/logout", { body: {}, token: this.#grant.access_token }).catch(() => {});
    this.#grant = null;
  }

  async #obtain() {
    const refreshToken = this.#grant?.refresh_token;
    this.#grant = null;
    const grant = (refreshToken && (await this.#refresh(refreshToken))) || (await this.#login());
    this.#grant = { ...grant, expiresAt: performance.now() + grant.expires_in * 1000 };
    return grant.access_token;
  }

  #login() {
    return call("POST", "api/auth/login", { body: { email: this.email, password: this.#password } });
  }

  /** A session that has ended is no matter: the caller signs in again. */
  #refresh(refreshToken) {
    return call("POST", "api/auth/refresh", { body: { refresh_token: refreshToken } }).catch((problem) => {
      if (problem.permanent) return null;
      throw problem;
    });
  }
}
