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
  // One page serves all of its addresses, whatever filters they hold.
  if (isFile) event.respondWith(answer(event, request.mode === "navigate" ? pathname : request.url));
});

// What the page had loaded before this worker was there is not in the copy yet.
worker.addEventListener("message", (event) => {
  if (event.data?.type === "keep") event.waitUntil(keep(event.data.urls).then(() => event.ports[0]?.postMessage("kept")));
});

/** @param {string[]} urls */
async function keep(urls) {
  const cache = await caches.open(CACHE);
  await Promise.allSettled(urls.map((url) => cache.add(new Request(url, { cache: "no-cache" }))));
}

/** @param {FetchEvent} event @param {string} url by which it is kept */
async function answer(event, url) {
  try {
    const response = await fetch(event.request);
    // The page waits for no copy, and a disk that is full takes nothing from it.
    if (response.ok) event.waitUntil(put(url, response.clone()).catch(() => {}));
    return response;
  } catch (error) {
    const found = await caches.match(url, { cacheName: CACHE });
    if (found) return found;
    throw error;
  }
}

/** @param {string} url @param {Response} response */
async function put(url, response) {
  const cache = await caches.open(CACHE);
  await cache.put(url, response);
}
