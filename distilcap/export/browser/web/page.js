// What a person sees and touches. Pictures go to the worker; nothing goes anywhere else.

import { decodePicture, load } from "./distilcap.js";

const $ = (id) => document.getElementById(id);

function say(text, wrong = false) {
  $("status").textContent = text;
  $("status").classList.toggle("wrong", wrong);
}

// Fulfilled once every file of this page's version is on the device; an older worker may be active before.
const kept = (async () => {
  const worker = navigator.serviceWorker;
  const { scope } = await worker.register("service-worker.js");
  await worker.ready;
  const version = document.querySelector("[name=version]").content;
  const cacheName = `distilcap-${scope} ${version}`; // as service-worker.js names it
  for (;;) {
    const changed = new Promise((done) => worker.addEventListener("controllerchange", done, { once: true }));
    if (await caches.match("index.html", { cacheName })) return;
    await changed;
  }
})();
kept.catch(() => {});

const threads = Number(new URLSearchParams(location.search).get("threads")) || undefined;
const ready = load({ threads, progress: (share) => ($("progress").value = share) }).then(
  (captioner) => {
    const { facts } = captioner;
    $("progress").hidden = true;
    say("Ready.");
    if (![...$("beam").options].some((option) => Number(option.value) === facts.beam)) {
      $("beam").add(new Option(facts.beam));
    }
    $("beam").value = facts.beam;
    // A voice or a font of English is wrong for others; which language it is, nothing says.
    if (facts.tokenizer !== "ptb") $("caption").lang = $("alternatives").lang = $("photo").lang = "";
    $("facts").textContent =
      `${facts.megabytes.toFixed(1)} MB in ${facts.precision}: ${facts.encoder} sees, ${facts.architecture} writes ` +
      `with ${facts.words.toLocaleString("en")} words. It runs on ${facts.threads} ${facts.threads > 1 ? "threads" : "thread"}.`;
    kept.then(() => ($("facts").textContent += " It works offline from now on."), () => {});
    if (facts.licence.captioner) $("terms").textContent = `Terms of the captioner: ${facts.licence.captioner}.`;
    return captioner;
  },
  (error) => {
    $("progress").hidden = true;
    say(error.message, true);
    throw error;
  },
);
ready.catch(() => {});

/** Caption a picture without showing it. */
const describe = async (blob, beam) => (await ready).describe(blob, { beam });

const facts = ready.then((captioner) => captioner.facts);
facts.catch(() => {});
globalThis.captioner = { ready: facts, describe, decodePicture }; // the page's door for tests, timings and the curious

let shown; // the last picture, to be captioned again when the beam changes
let latest = 0;

async function show(blob) {
  closeCamera();
  shown = blob;
  const mine = ++latest;
  URL.revokeObjectURL($("photo").src);
  $("photo").src = URL.createObjectURL(blob);
  $("photo").hidden = false;
  $("photo").alt = "";
  $("invitation").hidden = true;
  $("drop").classList.add("full");
  $("rest").hidden = true;
  $("caption").textContent = "";
  try {
    await ready;
    say("Looking …");
    const result = await describe(blob, Number($("beam").value));
    if (mine === latest) tell(result);
  } catch (error) {
    if (mine !== latest) return;
    const unreadable = error.name === "InvalidStateError" || error.name === "EncodingError";
    say(unreadable ? "This file is not a picture that the browser can read." : error.message, true);
  }
}

/** In words, how often captions of this confidence are as close to people's as people's are to each other. */
function sureness(confidence) {
  if (confidence === undefined) return "";
  const words = SURENESS.find(([least]) => confidence >= least)[1];
  return `${words}: of 10 such captions, about ${Math.round(10 * confidence)} are as close to people's as people's are to each other.`;
}
const SURENESS = [[0.6, "Likely right"], [0.4, "May be wrong"], [0, "Likely wrong"]];

function tell({ captions, milliseconds }) {
  const [first, ...others] = captions.filter((one) => Number.isFinite(one.logProb));
  const { pixels, encoder, decoder } = milliseconds;
  const total = pixels + encoder + decoder;
  $("caption").textContent = first.text;
  $("photo").alt = first.text;
  $("sureness").textContent = sureness(first.confidence);
  $("alternatives").replaceChildren(...others.map((one) => {
    const item = document.createElement("li");
    item.textContent = one.text;
    return item;
  }));
  $("alternatives-title").hidden = !others.length;
  $("times").textContent =
    `${total.toFixed(0)} ms: ${pixels.toFixed(0)} to prepare, ${encoder.toFixed(0)} to see, ${decoder.toFixed(0)} to write.`;
  $("rest").hidden = false;
  say("Done.");
}

const firstPicture = (items) => [...items].find((item) => item.type.startsWith("image/"));

$("invitation").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", ({ target }) => {
  if (target.files[0]) show(target.files[0]);
  target.value = "";
});
$("beam").addEventListener("change", () => shown && show(shown));
addEventListener("paste", ({ clipboardData }) => {
  const picture = firstPicture(clipboardData.files);
  if (picture) show(picture);
  else say("The clipboard holds no picture.", true);
});
for (const name of ["dragover", "dragleave", "drop"]) {
  addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", name === "dragover");
    if (name !== "drop") return;
    const picture = firstPicture(event.dataTransfer.files);
    if (picture) show(picture);
    else say("That is not a picture.", true);
  });
}

let stream, opening = false;

function closeCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = undefined;
  $("camera").hidden = $("take").hidden = $("close-camera").hidden = true;
  $("open-camera").hidden = false;
  if (!shown) $("invitation").hidden = false;
}

$("open-camera").addEventListener("click", async () => {
  if (opening) return; // a second press would open a second stream, which nothing closes
  opening = true;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    $("camera").srcObject = stream;
    await $("camera").play();
  } catch {
    closeCamera();
    say("The camera cannot be used: allow it in the browser, or choose a photo.", true);
    return;
  } finally {
    opening = false;
  }
  $("photo").hidden = $("invitation").hidden = $("open-camera").hidden = true;
  $("camera").hidden = $("take").hidden = $("close-camera").hidden = false;
  $("take").focus();
});
$("close-camera").addEventListener("click", () => {
  closeCamera();
  $("photo").hidden = !shown;
  $("open-camera").focus();
});
$("take").addEventListener("click", () => {
  const canvas = document.createElement("canvas");
  canvas.width = $("camera").videoWidth;
  canvas.height = $("camera").videoHeight;
  canvas.getContext("2d").drawImage($("camera"), 0, 0);
  canvas.toBlob((blob) => {
    show(blob);
    $("open-camera").focus();
  }, "image/png");
});
