/** A person's connection: the client library with their login, and words for how it stands. */

import { connect } from "branchline";
import { offline } from "branchline/offline";

/** A client for `session`. What it keeps on this device is this person's, whichever pane they are in. */
export function connectAs(session) {
  return connect({
    token: async ({ renew }) => {
      try {
        return await session.token({ renew });
      } catch (problem) {
        if (problem.permanent) return null; // nobody is signed in
        throw problem;
      }
    },
    offline: offline({ as: session.email }),
    poll_ms: 5_000,
    receipts: 0.1,
  });
}

/** Done when nothing of a write can get lost any more: it is kept on this device, or the server has it, or it is in the inbox. */
export async function whenSafe({ local, server }) {
  try {
    await local.catch(() => server);
  } catch (error) {
    if (error.code !== "refused") throw error;
  }
}

/** Whether what is written now reaches the server soon. */
export const isConnected = ({ state }) => ["live", "leaving", "polling"].includes(state);

const WORDS = { live: "Live", leaving: "Live", polling: "Polling", idle: "Offline", "needs-auth": "Signed out", stopped: "Ended" };

/** `{state, words}` for the pill: `state` is the client's, or `catching-up`, `connecting`, `reconnecting`. */
export function lineOf(client, feed) {
  const { state } = client;
  if (client.isPaused) return { state: "idle", words: WORDS.idle };
  if (isConnected(client) && feed.live.state !== "live") return { state: "catching-up", words: "Catching up" };
  if (state in WORDS && state !== "idle") return { state, words: WORDS[state] };
  return client.principal ? { state: "reconnecting", words: "Reconnecting" } : { state: "connecting", words: "Connecting" };
}

/** The words at a record, or at one of its fields, while it is not as the server has it. */
export function wordOf(client, live, id, field) {
  switch (live.stateOf(id, field)) {
    case "saved":
      return "";
    case "needs-review":
      return "Needs review";
    case "saving":
      return isConnected(client) || !client.offline.isDurable ? "Saving" : "Saved on this device";
    default:
      return "Saving";
  }
}
