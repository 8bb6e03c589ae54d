// A bundle in the browser: fetched, checked against its manifest, and run by ONNX Runtime.

import { normalise, resize } from "./pixels.js";
import { decode, search } from "./search.js";

const FORMAT = "distilcap bundle", VERSIONS = [1, 2];
const GRAPHS = ["encoder", "encode", "step", "greedy"];

/** Fetch a file, telling `progress` its bytes as they come. */
async function fetchBytes(url, cache, progress) {
  const response = await fetch(url, { cache });
  if (!response.ok) {
    const fix = response.status === 404 ? "; write the site again, or upload it whole" : "";
    throw new Error(`${url}: the server answers ${response.status}${fix}.`);
  }
  const chunks = [];
  const reader = response.body.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    chunks.push(part.value);
    progress(part.value.length);
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}

/** Whether bytes have another SHA-256. Pages that are served without encryption by another machine cannot tell. */
async function differs(bytes, sha256) {
  if (!globalThis.crypto?.subtle) return false;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("") !== sha256;
}

/** How often captions with such a mean log-probability are right, 0 to 1; none without a calibration. */
function confidence(calibration, meanLogProb) {
  if (!calibration) return undefined;
  return 1 / (1 + Math.exp(-(calibration.slope * meanLogProb + calibration.intercept)));
}

export class Captioner {
  /** Load the bundle at `url`; `progress` hears the share that is there, 0 to 1. */
  static async load(ort, url, progress = () => {}, cache = "default") {
    const damaged = (name) => {
      // Only what is kept here may be damaged, or of a site that was half uploaded.
      if (cache === "default") return Captioner.load(ort, url, progress, "reload");
      throw new Error(`${name} is damaged: write the site again, or upload it whole.`);
    };
    const [manifestBytes, checksum] = await Promise.all(
      ["manifest.json", "manifest.json.sha256"].map((name) => fetchBytes(`${url}/${name}`, cache, () => {})),
    );
    const text = (bytes) => new TextDecoder().decode(bytes);
    if (await differs(manifestBytes, text(checksum).split(" ")[0])) return damaged("manifest.json");
    const manifest = JSON.parse(text(manifestBytes));
    if (manifest.format !== FORMAT) throw new Error("This folder holds no bundle.");
    if (!VERSIONS.includes(manifest.version)) {
      throw new Error(`The bundle is of version ${manifest.version}; this page reads ${VERSIONS.join(" and ")}.`);
    }
    const wanted = Object.keys(manifest.files).filter((name) => GRAPHS.some((graph) => name === `${graph}.onnx`) || name.endsWith(".bin"));
    const total = wanted.reduce((sum, name) => sum + manifest.files[name].bytes, 0);
    let got = 0;
    const files = {};
    for (const name of wanted) {
      files[name] = await fetchBytes(`${url}/${encodeURIComponent(name)}`, cache, (bytes) => progress((got += bytes) / total));
      if (await differs(files[name], manifest.files[name].sha256)) return damaged(name);
    }
    const id = (word) => (word === null ? 0 : manifest.vocabulary.indexOf(word));
    const blocked = Object.entries(manifest.decode.never_write ?? {}).map(([word, instead]) => [id(word), id(instead)]);
    const captioner = new Captioner();
    Object.assign(captioner, { ort, manifest, files, bytes: total, blocked, sessions: {} });
    for (const graph of ["encoder", "encode", "step"]) await captioner.session(graph);
    return captioner;
  }

  /** The session of a graph, made when first asked for: the greedy one holds the decoder's weights again. */
  async session(graph) {
    const weights = Object.keys(this.files).filter((name) => name.endsWith(".bin"));
    this.sessions[graph] ??= await this.ort.InferenceSession.create(this.files[`${graph}.onnx`], {
      executionProviders: ["wasm"],
      externalData: graph === "encoder" ? [] : weights.map((path) => ({ path, data: this.files[path] })),
    });
    return this.sessions[graph];
  }

  /** RGBA bytes of an opaque picture, or of the part in a box, to captions, best first, and the milliseconds of each part. */
  async caption(rgba, width, height, beam, box) {
    const { manifest, sessions, ort } = this;
    const { preprocessing, decode: options } = manifest;
    const greedy = (beam ?? options.width) === 1 && (await this.session("greedy"));
    const began = performance.now();
    const pixels = normalise(resize(rgba, width, height, preprocessing, box), preprocessing);
    const prepared = performance.now();
    const seen = await sessions.encoder.run({
      pixels: new ort.Tensor("float32", pixels, [1, 3, preprocessing.size, preprocessing.size]),
    });
    const encoded = performance.now();
    const found = greedy ? await this.greedy(seen, greedy) : await this.search(seen, {
      width: beam ?? options.width,
      maxWords: options.max_words,
      lengthPenalty: options.length_penalty,
      allowUnk: options.allow_unk,
      blocked: this.blocked,
      avoidRepeats: options.avoid_repeats,
    });
    const decoded = performance.now();
    const captions = found.map(({ tokens, logProb }) => ({
      text: decode(tokens, manifest.vocabulary, manifest.spaced),
      tokens,
      logProb,
      confidence: confidence(manifest.calibration, logProb / Math.max(1, tokens.length)),
    }));
    if (!Number.isFinite(captions[0].logProb)) throw new Error("The model gave NaN for this picture: its weights are damaged.");
    return { captions, milliseconds: { pixels: prepared - began, encoder: encoded - prepared, decoder: decoded - encoded } };
  }

  /** The greedy caption in a single run. */
  async greedy({ features, mask }, session) {
    const { tokens, log_probs: logProbs } = await session.run({ features, mask });
    return [{ tokens: Array.from(tokens.data, Number), logProb: logProbs.data[0] }];
  }

  async search(seen, options) {
    const { manifest, sessions, ort } = this;
    const memory = await sessions.encode.run({ features: seen.features, mask: seen.mask });
    const zeros = manifest.state.map((size) => new Float32Array(options.width * size));
    const step = async (tokens, state) => {
      const inputs = { ...memory, tokens: new ort.Tensor("int64", BigInt64Array.from(tokens, BigInt), [1, tokens.length]) };
      manifest.state.forEach((size, place) => {
        inputs[`state_${place}`] = new ort.Tensor("float32", state[place], [1, tokens.length, size]);
      });
      const outputs = await sessions.step.run(inputs);
      const words = manifest.vocabulary.length;
      const logits = tokens.map((_, place) => outputs.logits.data.subarray(place * words, (place + 1) * words));
      return { logits, state: manifest.state.map((_, place) => outputs[`next_${place}`].data) };
    };
    const reorder = (state, places) => state.map((values, tensor) => {
      const size = manifest.state[tensor];
      const moved = new Float32Array(places.length * size);
      places.forEach((from, to) => moved.set(values.subarray(from * size, (from + 1) * size), to * size));
      return moved;
    });
    return search(step, reorder, zeros, options);
  }
}
