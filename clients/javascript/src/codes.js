/** PURE. What ended a socket, and the event that it is for the table of states: see `clients/CONTRACT.md`. */

/** @import { Event } from "./states.js" */

/** @type {Partial<Record<number, Event>>} */
const CLOSES = { 1011: "lost", 1012: "sent_away", 4501: "refused", 4503: "refused", 4508: "sent_away", 4509: "sent_away" };

/**
 * The event for a close code. No close frame (1005, 1006) is a lost line.
 * @param {number} code
 * @returns {Event}
 */
export const closeEvent = (code) =>
  CLOSES[code] ?? ([1000, 1002, 1003, 1007, 1009].includes(code) || (code >= 4500 && code < 5000) ? "ended" : "lost");
