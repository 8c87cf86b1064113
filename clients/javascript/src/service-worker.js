/**
 * Opens the app without a network: files come from the server as ever, and from the last copy where it does not answer. It touches
 * neither the API nor sockets: records are the client's business.
 *
 * A page registers it: `navigator.serviceWorker.register("/client/src/service-worker.js", { scope: "/", type: "module" })`.
 */

const CACHE = "branchline-files";
const worker = /** @type {ServiceWorkerGlobalScope} */ (/** @type {unknown} */ (globalThis));

worker.addEventListener("install", () => void worker.skipWaiting());
worker.addEventListener("activate", (event) => event.waitUntil(worker.clients.claim()));

worker.addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  const isFile = request.method === "GET" && origin === worker.location.origin && !/^\/(api|docs|ws|metrics|healthz|readyz|openapi)\b/.test(pathname);
  if (isFile) event.respondWith(answer(request));
});

// What the page had loaded before this worker was there is not in the copy yet.
worker.addEventListener("message", (event) => {
  if (event.data?.type === "keep") event.waitUntil(keep(event.data.urls));
});

/** @param {string[]} urls */
async function keep(urls) {
  const cache = await caches.open(CACHE);
  await Promise.allSettled(urls.map((url) => cache.add(new Request(url, { cache: "no-cache" }))));
}

/** @param {Request} request */
async function answer(request) {
  const cache = await caches.open(CACHE);
  try {
    const response = await fetch(request);
    if (response.ok) await cache.put(request, response.clone());
    return response;
  } catch (error) {
    // One page serves all of its addresses, whatever filters they hold.
    const options = { ignoreSearch: request.mode === "navigate" };
    const found = await cache.match(request, options);
    if (found) return found;
    throw error;
  }
}
