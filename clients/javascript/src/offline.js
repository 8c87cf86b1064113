/**
 * What `offline()` gives to `connect`: a durable queue, a cache, drafts, and one connection for all tabs.
 * @typedef {any} Offline
 */
export {};
