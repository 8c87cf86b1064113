/**
 * Which tab has the connection: the one that holds a lock (Web Locks). The others ask it whether it is there, and take the lock away
 * from one that does not answer, because it stands still. A tab that closes gives it up by itself.
 */

const ASK_MS = 250;
/** So many questions without an answer: less than a second. */
const MISSED = 3;

/**
 * `lead` and `follow` are told when this tab begins to; `heard` gets the other tabs' messages: of one that leads only if it is the last
 * that said so.
 * @typedef {{ lead(): void, follow(): void, heard(message: any, from: string): void }} TabsHost
 */

export class Tabs {
  /** The tab that leads, "" while that is not known. */
  leader = "";
  leads = false;
  #name;
  #id;
  #host;
  #channel;
  #missed = 0;
  /** When the tab that leads began to: what stood still meanwhile is not believed. */ #term = 0;
  #closing = new AbortController();
  /** @type {AbortController | null} */ #queued = null;
  /** @type {() => void} */ #release = () => {};
  /** @type {any} */ #asking;

  /** Whether this browser can share one connection: where site data is blocked, it has locks and gives none. */
  static async areSupported() {
    if (!globalThis.navigator?.locks || !globalThis.BroadcastChannel) return false;
    return navigator.locks.query().then(
      () => true,
      () => false,
    );
  }

  /** @param {string} name what is shared @param {string} id this tab's @param {TabsHost} host */
  constructor(name, id, host) {
    this.#name = name;
    this.#id = id;
    this.#host = host;
    this.#channel = new BroadcastChannel(name);
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    // By it, the tab that leads knows that this one is still there.
    void navigator.locks.request(`${name} ${id}`, () => this.#closed());
    void this.#elect({ ifAvailable: true });
    let last = performance.now();
    this.#asking = setInterval(() => {
      const now = performance.now();
      // Whoever stands still itself has no right to say that another does.
      const stoodStill = now - last > 2 * ASK_MS && globalThis.document?.visibilityState !== "hidden";
      last = now;
      if (this.leads) return;
      this.#missed = stoodStill ? 0 : this.#missed + 1;
      if (this.#missed >= MISSED) this.take();
      else this.post({ type: "ask" });
    }, ASK_MS);
  }

  /** Tells the other tabs. @param {object} message */
  post(message) {
    this.#channel.postMessage({ ...message, from: this.#id, term: this.#term });
  }

  /** Takes the lead, whoever has it. */
  take() {
    this.#missed = 0;
    this.#queued?.abort();
    void this.#elect({ steal: true });
  }

  /** The ids of the tabs that are there. @returns {Promise<Set<string>>} */
  async present() {
    const { held = [] } = await navigator.locks.query();
    const prefix = `${this.#name} `;
    return new Set(held.flatMap(({ name = "" }) => (name.startsWith(prefix) ? [name.slice(prefix.length)] : [])));
  }

  close() {
    clearInterval(this.#asking);
    this.post({ type: "bye" });
    this.#closing.abort();
    this.#queued?.abort();
    this.#release();
    this.#channel.close();
  }

  #closed() {
    const { signal } = this.#closing;
    return new Promise((resolve) => (signal.aborted ? resolve(null) : signal.addEventListener("abort", resolve)));
  }

  /** @param {LockOptions} options */
  async #elect(options) {
    try {
      await navigator.locks.request(this.#name, options, (lock) => {
        if (this.#closing.signal.aborted) return;
        if (lock) return this.#lead();
        this.#follow();
      });
    } catch {
      // Another tab has taken the lock, or it is waited for no longer.
      if (this.leads) this.#follow();
    }
  }

  #lead() {
    this.leads = true;
    this.#term = Math.max(Date.now(), this.#term + 1);
    this.leader = this.#id;
    this.#queued = null;
    this.#host.lead();
    return new Promise((resolve) => (this.#release = () => resolve(null)));
  }

  #follow() {
    this.leads = false;
    this.#missed = 0;
    this.#release();
    this.#queued = new AbortController();
    void this.#elect({ signal: this.#queued.signal });
    this.#host.follow();
  }

  /** @param {any} message */
  #hear({ from, term, ...message }) {
    const { type } = message;
    if (type === "ask") {
      if (this.leads) this.post({ type: "here" });
      return;
    }
    if (type === "lead" && term >= this.#term) {
      this.leader = from;
      this.#term = term;
    }
    if (from === this.leader) this.#missed = 0;
    if (type !== "here") this.#host.heard(message, from);
  }
}
