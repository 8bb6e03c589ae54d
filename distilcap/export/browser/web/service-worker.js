// Keeps every file of the site on the device, so that it works offline; and gives each the two headers
// that threads need, wherever the site is hosted. `distilcap web` fills in the files and their checksum.

const SITE = { version: "unwritten", files: [] };
// All pages of an origin share its caches: ours are those of this folder. No address holds a space.
const OURS = `distilcap-${self.registration.scope} `;
const CACHE = OURS + SITE.version;

self.addEventListener("install", (event) => {
  event.waitUntil((async () => {
    const cache = await caches.open(CACHE);
    await cache.addAll(SITE.files.map((file) => new Request(file, { cache: "no-cache" })));
    await self.skipWaiting();
  })());
});

self.addEventListener("activate", (event) => {
  event.waitUntil((async () => {
    const old = (await caches.keys()).filter((name) => name.startsWith(OURS) && name !== CACHE);
    await Promise.all(old.map((name) => caches.delete(name)));
    await self.clients.claim();
  })());
});

function isolated(response) {
  if (!response.status) return response; // a redirect, which the browser follows itself
  const headers = new Headers(response.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}

/** The page from the network while there is one: by now another may be served at this address.
 *  A server that writes the page anew for each visit (a nonce) thereby ends its working offline. */
async function newest(request, kept) {
  let response;
  try {
    response = await fetch(request, { cache: "reload" }); // not "not modified": another page may be older
  } catch {
    return kept;
  }
  if (response.ok && (await response.clone().text()) !== (await kept.clone().text())) {
    // Nothing that was kept belongs to another page, which has a worker of its own or none.
    await caches.delete(CACHE);
    await self.registration.unregister();
  }
  return response;
}

/** A file that the page asks for anew, since what was kept of it is damaged. */
async function renewed(request) {
  const response = await fetch(request);
  if (response.ok) await (await caches.open(CACHE)).put(request, response.clone());
  return response;
}

self.addEventListener("fetch", (event) => {
  if (event.request.method !== "GET" || new URL(event.request.url).origin !== location.origin) return;
  event.respondWith((async () => {
    const kept = await caches.match(event.request, { cacheName: CACHE, ignoreSearch: true });
    if (!kept) return fetch(event.request); // a person's own page beside ours
    if (event.request.mode === "navigate") return isolated(await newest(event.request, kept));
    return isolated(event.request.cache === "reload" ? await renewed(event.request) : kept);
  })());
});
