// Keeps every file of the site on the device, so that it works offline; and gives each the two headers
// that threads need, wherever the site is hosted. `distilcap web` fills in the files and their checksum.

const SITE = { version: "unwritten", files: [] };
// All pages of an origin share its caches: ours are those of this folder. No address holds a space.
const OURS = `distilcap-${self.registration.scope} `;
const CACHE = OURS + SITE.version;

self.addEventListener("install", (event) => {
  event.waitUntil((async () => {
    const cache = await caches.open(CACHE);
    const anew = (file) => new Request(file, { cache: "no-cache" });
    await cache.addAll(SITE.files.map(anew));
    const folder = await fetch(anew("./"));
    if (folder.ok) await cache.put(anew("./"), folder); // not every host has a page at a folder's address
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

/** The page from the network while there is one. Nothing is kept any longer where that has another than `kept`,
 *  or none: what is served at this address by now is another site, which has a worker of its own or none. It is
 *  as the server gives it, for its files no longer come from here, with headers that an isolated page asks of them.
 *  A server that writes the page anew for each visit (a nonce) thereby ends its working offline. */
async function newest(request, kept) {
  let response;
  try {
    response = await fetch(request, { cache: "reload" }); // not "not modified": another page may be older
  } catch {
    return isolated(kept);
  }
  const gone = response.status === 404 || response.status === 410;
  const same = !gone && (!response.ok || (await response.clone().text()) === (await kept.clone().text()));
  if (same) return isolated(response);
  await caches.delete(CACHE);
  await self.registration.unregister();
  return response;
}

/** A page that is not ours: a person's own beside ours, or one of another site, which must get no file of ours. */
async function another(request) {
  const kept = await caches.match("index.html", { cacheName: CACHE });
  const [response] = await Promise.all([fetch(request), kept && newest("index.html", kept)]);
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
    const page = event.request.mode === "navigate";
    if (!kept) return page ? another(event.request) : fetch(event.request);
    if (page) return newest(event.request, kept);
    return isolated(event.request.cache === "reload" ? await renewed(event.request) : kept);
  })());
});
