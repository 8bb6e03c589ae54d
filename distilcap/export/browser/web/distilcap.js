// The captioner as a module: load a bundle, describe pictures. The page uses it, and any other page can:
//   import { load } from "./site/distilcap.js";
//   const captioner = await load();
//   const { captions } = await captioner.describe(document.querySelector("img"));

import { filledBox, jpegSize, reduction } from "./pixels.js";

const AS_IT_IS = { imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none" };
const HEAD = 1 << 20; // bytes: a JPEG names its size behind its metadata

/** Load the bundle at `bundle`, on a worker of its own; `progress` hears the share that is there, 0 to 1. */
export async function load({
  bundle = new URL(/* webpackIgnore: true */ "bundle", import.meta.url).href,
  threads = Math.min(4, navigator.hardwareConcurrency || 1),
  progress = () => {},
} = {}) {
  const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  const waiting = new Map();
  let calls = 0, ended;
  // Of a worker that is gone nobody gets an answer: whoever waits would wait for ever.
  const end = (why) => {
    ended ??= new Error(why);
    worker.terminate();
    for (const { reject } of waiting.values()) reject(ended);
    waiting.clear();
  };
  worker.onmessage = ({ data }) => {
    if (data.type === "progress") {
      progress(data.share);
      return;
    }
    const { resolve, reject } = waiting.get(data.id);
    waiting.delete(data.id);
    if (data.type === "done") resolve(data.result);
    else reject(new Error(data.message));
  };
  worker.onerror = worker.onmessageerror = (event) =>
    end(`The captioner's worker failed: ${event.message || "its script did not load"}.`);
  const ask = (call, given, transfer = []) =>
    new Promise((resolve, reject) => {
      if (ended) throw ended;
      waiting.set(++calls, { resolve, reject });
      worker.postMessage({ id: calls, call, ...given }, transfer);
    });
  try {
    // A relative address is one of the page, not of the worker.
    const folder = new URL(bundle, globalThis.document?.baseURI ?? globalThis.location?.href).href.replace(/\/$/, "");
    const facts = await ask("load", { bundle: folder, threads });

    /** Caption a picture; it is prepared from the file to the encoder's input. */
    const describe = async (picture, { beam } = {}) => {
      const began = performance.now();
      const { bitmap, box } = await decodePicture(picture, facts.preprocessing);
      const result = await ask("caption", { bitmap, box, beam }, [bitmap]);
      const { encoder, decoder } = result.milliseconds;
      result.milliseconds.pixels = performance.now() - began - encoder - decoder;
      return result;
    };
    return { facts, describe, close: () => end("The captioner is closed.") };
  } catch (error) {
    worker.terminate();
    throw error;
  }
}

/**
 * A bitmap, upright, and with its colours as they are in the file; of a large JPEG only as many pixels as are needed.
 * And the box that the picture fills of it, if not all.
 */
export async function decodePicture(picture, preprocessing) {
  if (!(picture instanceof Blob)) return { bitmap: await createImageBitmap(picture, AS_IT_IS) };
  const head = new Uint8Array(await picture.slice(0, HEAD).arrayBuffer());
  const more = picture.size > HEAD && head[0] === 0xff && head[1] === 0xd8; // a JPEG with still more metadata
  const size = jpegSize(head) ?? (more ? jpegSize(new Uint8Array(await picture.arrayBuffer())) : undefined);
  const part = size ? reduction(size, preprocessing) : 1;
  if (part === 1) return { bitmap: await createImageBitmap(picture, AS_IT_IS) };
  const [desiredWidth, desiredHeight] = [size.width, size.height].map((side) => Math.ceil(side / part));
  if (!globalThis.ImageDecoder) {
    return { bitmap: await createImageBitmap(picture, { ...AS_IT_IS, resizeWidth: desiredWidth, resizeQuality: "medium" }) };
  }
  const data = await picture.arrayBuffer();
  const decoder = new ImageDecoder({ data, type: "image/jpeg", desiredWidth, desiredHeight, colorSpaceConversion: "none" });
  try {
    const { image } = await decoder.decode();
    const bitmap = await createImageBitmap(image, AS_IT_IS);
    image.close();
    return { bitmap, box: filledBox(size, part, bitmap) };
  } finally {
    decoder.close();
  }
}
