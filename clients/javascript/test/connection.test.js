import assert from "node:assert/strict";
import { test } from "node:test";
import { POLICY } from "../src/backoff.js";
import { Connection } from "../src/connection.js";

/** @import { Owner } from "../src/connection.js" */

/** A connection whose sockets do not open, though the API answers. @param {Partial<typeof POLICY>} policy @param {(socket: any) => void} onTried */
function makeConnection(policy, onTried) {
  /** @type {(state: string) => void} */ let polls = () => {};
  const polling = new Promise((resolve) => (polls = resolve));
  const owner = /** @type {Owner} */ (/** @type {unknown} */ ({
    stateChanged: (/** @type {string} */ state) => state === "polling" && polls(state),
    disconnected: () => {},
    poll: () => new Promise(() => {}),
  }));
  const api = /** @type {any} */ ({ getToken: async () => "token", send: async () => ({ gateway_url: "ws://fake.test/ws" }) });
  const openSocket = () => {
    const socket = /** @type {any} */ ({ readyState: 0, close: () => {} });
    queueMicrotask(() => onTried(socket));
    return socket;
  };
  return { connection: new Connection(owner, api, { ...POLICY, ...policy }, { silence_ms: 12_000, openSocket }), polling };
}

test("it polls as soon as sockets did not open for long, whatever the backoff", { timeout: 20_000 }, async (t) => {
  const never_ms = 2 ** 31 - 1;
  const { connection, polling } = makeConnection({ base_ms: never_ms, cap_ms: never_ms, blocked_ms: 100 }, (socket) => socket.onclose({ code: 1006, reason: "" }));
  t.after(() => connection.post("close"));
  connection.post("start");
  await polling;
});

test("a socket that is never answered is one that did not open", { timeout: 20_000 }, async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { connection, polling } = makeConnection({ blocked_ms: 0 }, () => t.mock.timers.tick(8_000));
  t.after(() => connection.post("close"));
  connection.post("start");
  await polling;
});
