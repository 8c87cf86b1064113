/**
 * PURE. How long to wait before trying again: exponential backoff with full jitter.
 *
 * After M. Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015). Chance is an argument: a number of
 * [0, 1). All times in milliseconds; the table is in `clients/CONTRACT.md`.
 */

/** Ceilings and counts; a program may give others to `connect` as `retry`. */
export const POLICY = {
  base_ms: 500,
  cap_ms: 30_000,
  /** After a live connection broke: long, because thousands of clients lose the same gateway in the same moment. */
  lost_ms: 10_000,
  /** After silence, which was this client's own line most of the time. */
  silent_ms: 4_000,
  /** After being sent away without a time. */
  away_ms: 30_000,
  /** Without a socket for so long, while the API answers, sockets do not get through. */
  blocked_ms: 15_000,
  blocked_cap_ms: 300_000,
  /** How often one write is tried against an error of the server's own before it goes to the inbox; at least 3. */
  refused_tries: 5,
};
/** @typedef {typeof POLICY} RetryPolicy */

/** The wait before try `attempt`, counted from 1. @param {RetryPolicy} policy @param {number} attempt @param {number} chance */
export const delayMs = (policy, attempt, chance) => chance * Math.min(policy.cap_ms, policy.base_ms * 2 ** attempt);

/** The time until a socket is tried again where they are blocked: at least half of its ceiling. @param {RetryPolicy} policy @param {number} attempt @param {number} chance */
export const blockedDelayMs = (policy, attempt, chance) =>
  ((1 + chance) * Math.min(policy.blocked_cap_ms, policy.blocked_ms * 2 ** attempt)) / 2;

/** The wait after being sent away: what the server named, and up to a fifth more. @param {RetryPolicy} policy @param {number | undefined} named_ms @param {number} chance */
export const awayDelayMs = (policy, named_ms, chance) => (named_ms ?? policy.away_ms) * (1 + chance / 5);
