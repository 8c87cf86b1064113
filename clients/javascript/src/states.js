/**
 * PURE. The connection: its states, what can happen, and what follows, as one total table.
 *
 * `clients/CONTRACT.md` shows the same table and says what the words mean; a test holds the two equal.
 */

/** @import { State } from "./types.js" */

// Each union on one line: tsc copies the beginning of every further line of a comment into the types that it writes.
/**
 * @typedef {"start" | "token" | "no_token" | "token_failed" | "opened" | "unreachable" | "blocked" | "ready" | "goaway" | "silent" | "lost" | "sent_away" | "refused" | "ended" | "due" | "online" | "sign_in" | "close"} Event
 * @typedef {"ask_token" | "open" | "authenticate" | "subscribe" | "drop" | "back_off" | "back_off_lost" | "back_off_silent" | "back_off_away" | "forget_token" | "poll" | "stop_timer"} Action
 * @typedef {readonly [state: State, ...actions: Action[]]} Transition
 */

/** @type {Transition} */ const TO_IDLE = ["idle", "stop_timer", "drop"];
/** @type {Transition} */ const TRY = ["authorizing", "stop_timer", "ask_token"];
/** @type {Transition} */ const TRY_ANEW = ["authorizing", "stop_timer", "drop", "forget_token", "ask_token"];
/** @type {Transition} */ const TRY_NEXT = ["authorizing", "drop", "ask_token"];
/** @type {Transition} */ const REAUTHORIZE = ["authorizing", "drop", "forget_token", "ask_token"];
/** @type {Transition} */ const WAIT = ["waiting", "drop", "back_off"];
/** @type {Transition} */ const WAIT_AWAY = ["waiting", "drop", "back_off_away"];
/** @type {Transition} */ const WAIT_ON = ["waiting", "drop"];
/** @type {Transition} */ const STOP = ["stopped", "stop_timer", "drop"];

/** @type {Partial<Record<Event, Transition>>} */
const CLOSED = { sent_away: WAIT_AWAY, refused: REAUTHORIZE, ended: STOP };

/** @type {Record<State, Partial<Record<Event, Transition>>>} */
const TABLE = {
  idle: { start: TRY },
  authorizing: { token: ["connecting", "open"], no_token: ["needs-auth"], token_failed: ["waiting", "back_off"] },
  connecting: {
    ...CLOSED,
    opened: ["authenticating", "authenticate"],
    unreachable: WAIT,
    blocked: ["polling", "drop", "poll"],
    lost: WAIT,
  },
  authenticating: { ...CLOSED, unreachable: WAIT, ready: ["live", "subscribe"], lost: WAIT },
  live: {
    ...CLOSED,
    goaway: ["leaving", "back_off_away"],
    silent: ["waiting", "drop", "back_off_silent"],
    lost: ["waiting", "drop", "back_off_lost"],
  },
  // The time that `goaway` named stays set, also if the socket goes before.
  leaving: { silent: WAIT_ON, lost: WAIT_ON, sent_away: WAIT_ON, refused: TRY_ANEW, ended: STOP, due: TRY_NEXT },
  waiting: { due: ["authorizing", "ask_token"], online: TRY },
  polling: {
    refused: TRY_ANEW,
    ended: STOP,
    due: TRY_NEXT,
    online: ["authorizing", "stop_timer", "drop", "ask_token"],
  },
  "needs-auth": {},
  stopped: {},
};

/** @type {Partial<Record<Event, Transition>>} */
const COMMON = { close: TO_IDLE, sign_in: TRY_ANEW };

/**
 * Says where an event leads from a state, and what is done on the way. Total: every pair has an answer.
 * Another token may be another person's: with `sign_in` the server decides on a fresh socket.
 * @param {State} state
 * @param {Event} event
 * @returns {Transition}
 */
export function step(state, event) {
  return TABLE[state][event] ?? (state !== "idle" ? COMMON[event] : undefined) ?? [state];
}
