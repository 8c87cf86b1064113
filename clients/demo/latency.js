/** How long changes took from their commit to the screen. */

const KEPT = 60;
const SHOWN = 9; // the pill tells the median of the last few, so that one slow frame does not make it jump

export class Latency {
  #samples = [];

  observe(ms) {
    this.#samples = [...this.#samples.slice(1 - KEPT), Math.max(0, ms)];
  }

  clear() {
    this.#samples = [];
  }

  /** Milliseconds, the newest last. */
  get samples() {
    return this.#samples;
  }

  get count() {
    return this.#samples.length;
  }

  /** The median of the last few, or null. */
  get now() {
    return median(this.#samples.slice(-SHOWN));
  }

  get median() {
    return median(this.#samples);
  }

  get slowest() {
    return Math.max(...this.#samples);
  }
}

function median(values) {
  if (values.length === 0) return null;
  return [...values].sort((a, b) => a - b)[values.length >> 1];
}

/** "12 ms"; a clock is not good for fractions of one. */
export const formatMs = (ms) => (ms < 1 ? "< 1 ms" : `${Math.round(ms).toLocaleString("en")} ms`);
