/** Pushes queued writes: one request at a time, in order, until each has its answer. */

import { delayMs } from "./backoff.js";
import { clientOf } from "./clock.js";
import { BranchlineError } from "./errors.js";
import { mutationBody, readResult } from "./queue.js";

/** @import { Pending } from "./types.js" */
/** @import { Api } from "./api.js" */
/** @import { RetryPolicy } from "./backoff.js" */
/** @import { Writer } from "./writer.js" */

const BATCH_WRITES = 1_000;
/** The API takes bodies up to 1 MiB. */
const BATCH_BYTES = 900_000;
/** Answers that say nothing of a write: the server, or this part of it, is not there just now. */
const AWAY = [0, 404, 405, 408, 425, 429, 502, 503, 504];

export class Pusher {
  #limit = BATCH_WRITES;
  #failures = 0;
  #isPushing = false;
  /** @type {any} */ #timer;

  /**
   * `mayPush` says whether somebody is signed in and this tab leads; `identify` makes sure who; `pushed` is told after each request.
   * @param {Writer} writer
   * @param {Api} api
   * @param {RetryPolicy} policy
   * @param {{ mayPush(): boolean, identify(): Promise<boolean>, pushed(): void }} host
   */
  constructor(writer, api, policy, host) {
    this.writer = writer;
    this.api = api;
    this.policy = policy;
    this.host = host;
  }

  /** There is something to push; `isAfresh`: and no reason to wait any longer. @param {boolean} [isAfresh] */
  kick(isAfresh) {
    if (isAfresh) this.#failures = 0;
    if (!this.#failures) void this.#pushAll();
  }

  /** Waits no longer. */
  stop() {
    clearTimeout(this.#timer);
  }

  async #pushAll() {
    if (this.#isPushing) return;
    this.#isPushing = true;
    clearTimeout(this.#timer);
    let delay_ms = 0;
    try {
      while (!delay_ms && this.writer.queue.size && this.host.mayPush() && (await this.host.identify())) {
        const batch = this.writer.queue.nextBatch(this.#limit, BATCH_BYTES);
        if (!batch.length) break;
        delay_ms = await this.#push(batch);
      }
    } catch (error) {
      delay_ms = this.#later(error);
    }
    this.#isPushing = false;
    if (delay_ms) this.#timer = setTimeout(() => this.#pushAll(), delay_ms);
  }

  /** Gives how long to wait, 0 to go on. @param {Pending[]} batch */
  async #push(batch) {
    const { writer } = this;
    const mutations = batch.map(({ mutation }) => mutation);
    const body = {
      client_id: clientOf(/** @type {any} */ (mutations[0]).clock),
      now_ms: Math.round(writer.now()),
      mutations: mutations.map(mutationBody),
    };
    let answer;
    try {
      answer = await this.api.request("POST", "/api/sync", body, 5_000 + 10 * batch.length);
    } catch (error) {
      return this.#failed(batch, error);
    }
    this.#limit = Math.min(BATCH_WRITES, this.#limit * 2);
    return this.#settle(batch, answer.results.map(readResult), answer);
  }

  /** @param {Pending[]} batch @param {any[]} results @param {{ epoch: string, offset: number }} at */
  async #settle(batch, results, at) {
    const { again, ...changes } = this.writer.queue.settle(batch, results, at, this.writer.now());
    await this.writer.settle(changes);
    this.host.pushed();
    if (again) return this.#later();
    this.#failures = 0;
    return 0;
  }

  /** An answer to the request as a whole. If a write is to blame, it is found by halving. @param {Pending[]} batch @param {any} error */
  async #failed(batch, error) {
    const { queue } = this.writer;
    const { code, status = 0, message } = error;
    if (code === "needs_auth" || !(error instanceof BranchlineError) || AWAY.includes(status) || batch.length > 1) {
      queue.unsent(batch);
      if (AWAY.includes(status) || code === "needs_auth") return this.#later(error);
      this.#limit = Math.max(1, batch.length >> 1);
      return status >= 500 ? this.#later(error) : 1;
    }
    const mutation_id = /** @type {Pending} */ (batch[0]).mutation.mutation_id;
    const refusal = { mutation_id, status: "rejected", code: status >= 500 ? "internal" : code, message };
    return this.#settle(batch, [refusal], { epoch: "", offset: 0 });
  }

  /** @param {any} [error] */
  #later(error) {
    return 1 + Math.max(delayMs(this.policy, ++this.#failures, Math.random()), error?.retry_after_ms ?? 0);
  }
}
