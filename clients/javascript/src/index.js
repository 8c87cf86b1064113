/** Branchline in a browser: live collections, writes that show at once, presence. See the README beside this folder. */

export { connect, Client } from "./client.js";
export { BranchlineError } from "./errors.js";
export { LiveCollection } from "./live.js";
export { Presence } from "./presence.js";
