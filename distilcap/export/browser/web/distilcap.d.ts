/**
 * A caption with its words' ids, its log-probability in nats, and how often such captions are as close to
 * people's captions as people's are to each other, 0 to 1; without the last where the bundle is not calibrated.
 */
export interface Caption {
  text: string;
  tokens: number[];
  logProb: number;
  confidence?: number;
}

/** Captions, best first, and the milliseconds of each part. */
export interface Description {
  captions: Caption[];
  milliseconds: { pixels: number; encoder: number; decoder: number };
}

/** What is known of a bundle that is loaded. */
export interface Facts {
  precision: string;
  beam: number;
  megabytes: number;
  words: number;
  tokenizer: string;
  encoder: string;
  architecture: string;
  threads: number;
  preprocessing: object;
  /** Terms of the bundle's parts: program, encoder, captioner. */
  licence: Record<string, string>;
}

export interface Captioner {
  facts: Facts;
  /** Caption a file, or a picture that is shown; rejects what the browser cannot read. `beam` 1 is greedy. */
  describe(picture: Blob | ImageBitmapSource, options?: { beam?: number }): Promise<Description>;
  /** End the worker; what still waits is rejected. */
  close(): void;
}

export interface LoadOptions {
  /** Address of the bundle's folder, from the page where it is relative; by default `bundle` beside this module. */
  bundle?: string;
  /** Threads of WebAssembly; one where the page is not isolated (COOP and COEP headers). */
  threads?: number;
  /** Hears the share of the bundle that is there, 0 to 1. */
  progress?: (share: number) => void;
}

/** Load a bundle, on a worker of its own. */
export function load(options?: LoadOptions): Promise<Captioner>;

/** A picture upright, with its colours as they are in the file. */
export function decodePicture(picture: Blob | ImageBitmapSource, preprocessing: object): Promise<Decoded>;

export interface Decoded {
  bitmap: ImageBitmap;
  /** The part of the bitmap that the picture fills, in pixels; all of it if undefined. */
  box?: { left: number; upper: number; right: number; lower: number };
}
