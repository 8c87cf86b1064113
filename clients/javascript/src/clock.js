/**
 * PURE. The hybrid logical clock: a time that sorts, never goes back, and moves past what it has seen.
 *
 * After S. Kulkarni et al. (2014). A clock is the text `<unix ms, 13 digits>-<counter, 4 hex>-<client id>`; compared as
 * text it is compared by time, then by counter, then by client. Held to `tests/vectors/clock.json`. A client keeps to the
 * server's time: `offset_ms` is what has to be added to this device's clock.
 */

/** @import { ClockState } from "./types.js" */

/** A difference to the server's time below this, and below the way there and back, is taken for the way's. */
export const STEADY_MS = 100;
const LATEST_MS = 9_999_999_999_999;

/** @param {string} clock */
const msOf = (clock) => +clock.slice(0, 13);
/** The moment of a clock, without who set it. @param {string} clock */
export const momentOf = (clock) => clock.slice(0, 18);
/** Who set a clock. @param {string} clock */
export const clientOf = (clock) => clock.slice(19);
/** @param {number} ms @param {number} counter @param {string} client_id */
const write = (ms, counter, client_id) =>
  `${String(ms).padStart(13, "0")}-${counter.toString(16).padStart(4, "0")}-${client_id}`;

/** The next clock of a client: after `last` ("" for none), and not before `now_ms`. @param {string} last @param {number} now_ms @param {string} client_id */
export function tick(last, now_ms, client_id) {
  const ms = last ? msOf(last) : -1;
  if (ms < now_ms) return write(now_ms, 0, client_id);
  const counter = parseInt(last.slice(14, 18), 16);
  return counter === 0xffff ? write(ms + 1, 0, client_id) : write(ms, counter + 1, client_id);
}

/** Gives a clock moved by some milliseconds: all of one device moved alike keep their order. @param {string} clock @param {number} by_ms */
export const shift = (clock, by_ms) =>
  String(Math.min(Math.max(msOf(clock) + by_ms, 0), LATEST_MS)).padStart(13, "0") + clock.slice(13);

/** Gives `second`, or the next clock of its client after `first` if it is not later than that. @param {string} first @param {string} second */
export const after = (first, second) => (momentOf(second) > momentOf(first) ? second : tick(first, msOf(second), clientOf(second)));

/** Gives the later of two clocks, either of which may be "". @param {string} a @param {string} b */
export const later = (a, b) => (momentOf(b) > momentOf(a) ? b : a);

/** Learns the server's time as it was when `device_ms` was read; gives the state, the same one if it is steady. @param {ClockState} state @param {number} server_ms @param {number} device_ms @param {number} uncertain_ms @returns {ClockState} */
export function seeServerTime(state, server_ms, device_ms, uncertain_ms) {
  const offset_ms = Math.round(server_ms - device_ms);
  const moved = offset_ms - state.offset_ms;
  if (Math.abs(moved) <= Math.max(STEADY_MS, uncertain_ms)) return state;
  return { ...state, last: state.last && shift(state.last, moved), offset_ms };
}
