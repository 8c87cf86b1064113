/** Callbacks: who wants to know, and telling them. */

/**
 * @template {any[]} T
 * @typedef {((...told: T) => void)} Callback
 */

/**
 * Makes a list of callbacks. `on(fn)` adds one and gives the function that takes it away again; a callback that throws ends with itself.
 * @template {any[]} T
 * @returns {{ on(fn: Callback<T>): () => void, tell(...told: T): void }}
 */
export function callbacks() {
  /** @type {Set<Callback<T>>} */ const all = new Set();
  return {
    on: (fn) => {
      // One function may be given twice.
      /** @type {Callback<T>} */ const own = (...told) => fn(...told);
      all.add(own);
      return () => void all.delete(own);
    },
    tell: (...told) => {
      for (const fn of [...all]) {
        try {
          fn(...told);
        } catch (error) {
          reportError(error);
        }
      }
    },
  };
}
