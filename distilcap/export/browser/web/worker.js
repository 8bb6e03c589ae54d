// Keeps the model off the page's own thread, so that the page never stutters.

import { Captioner } from "./captioner.js";

let captioner;

async function load({ bundle, threads }) {
  let ort;
  try {
    // What webpack ignores is served as it is, and no module of the program's.
    ort = await import(/* webpackIgnore: true */ "./ort/ort.wasm.min.mjs");
  } catch {
    throw new Error("ONNX Runtime is missing from this site: write it again with `distilcap web`, with a network.");
  }
  ort.env.wasm.wasmPaths = new URL(/* webpackIgnore: true */ "./ort/", import.meta.url).href;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? threads : 1;
  captioner = await Captioner.load(ort, bundle, (share) => postMessage({ type: "progress", share }));
  const { manifest, bytes } = captioner;
  return {
    precision: manifest.precision,
    beam: manifest.decode.width,
    megabytes: bytes / 1e6,
    words: manifest.vocabulary.length,
    tokenizer: manifest.tokenizer ?? "ptb",
    encoder: manifest.model.encoder.encoder,
    architecture: manifest.model.architecture,
    threads: ort.env.wasm.numThreads,
    preprocessing: manifest.preprocessing,
    licence: manifest.licence ?? {},
  };
}

/** Transparency goes onto white, as in training. */
function read(bitmap) {
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, bitmap.width, bitmap.height);
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height);
}

async function caption({ bitmap, box, beam }) {
  const { data, width, height } = read(bitmap);
  bitmap.close();
  return captioner.caption(data, width, height, beam, box);
}

onmessage = async ({ data: { id, call, ...given } }) => {
  try {
    postMessage({ id, type: "done", result: await { load, caption }[call](given) });
  } catch (error) {
    postMessage({ id, type: "failed", message: error.message });
  }
};
