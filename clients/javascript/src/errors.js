/** The one error of this library. `code` is stable; the README has a line for each, under "Errors". */

export class BranchlineError extends Error {
  /**
   * @param {string} code
   * @param {string} message what was expected and what came
   * @param {{ status?: number, retry_after_ms?: number, entry?: import("./types.js").InboxEntry, cause?: unknown }} [more]
   */
  constructor(code, message, { status = 0, retry_after_ms = 0, entry, cause } = {}) {
    super(message, { cause });
    this.name = "BranchlineError";
    this.code = code;
    /** HTTP status or close code behind it, 0 where there is none. */
    this.status = status;
    this.retry_after_ms = retry_after_ms;
    /** Of `refused`: the entry in the inbox. */
    this.entry = entry;
  }
}

/** @param {unknown} error @param {string} code @returns {error is BranchlineError} */
export const isError = (error, code) => error instanceof BranchlineError && error.code === code;
