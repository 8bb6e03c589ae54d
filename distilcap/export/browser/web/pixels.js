// A picture as the encoder wants it: the resizing of Pillow, step for step, and the normalisation.
// Canvas scaling differs from browser to browser, and captions with it; this does not.

const MAX_PIXELS = 89478485; // that are decoded whole

const BITS = 22; // of a coefficient's fraction, as in Pillow's resampling of bytes

const FILTERS = {
  // Triangle of half-width 1.
  bilinear: { support: 1, at: (x) => Math.max(0, 1 - Math.abs(x)) },
  // Keys 1981, equation 4, with a = -1/2.
  bicubic: {
    support: 2,
    at: (x) => {
      x = Math.abs(x);
      if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
      return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
    },
  },
};

/** For each of `size` outputs: the first input it reads, and its fixed-point weights. */
function coefficients(filter, inputs, begin, end, size) {
  const scale = (end - begin) / size;
  const stretch = Math.max(scale, 1); // wider when shrinking, so that every input counts
  const support = filter.support * stretch;
  return Array.from({ length: size }, (_, place) => {
    const center = begin + (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const last = Math.min(inputs, Math.trunc(center + support + 0.5));
    const weights = [];
    let sum = 0;
    for (let input = first; input < last; input++) {
      const weight = filter.at((input - center + 0.5) * (1 / stretch));
      weights.push(weight);
      sum += weight;
    }
    const fixed = weights.map((weight) => {
      const value = (sum ? weight / sum : weight) * (1 << BITS);
      return Math.trunc(value < 0 ? value - 0.5 : value + 0.5);
    });
    return { first, weights: Int32Array.from(fixed) };
  });
}

const toByte = (sum) => {
  const value = sum >> BITS;
  return value < 0 ? 0 : value > 255 ? 255 : value;
};

const HALF = 1 << (BITS - 1);

/** Every row of a picture, whose pixels are `step` bytes, from `left` to `right` to `size` pixels RGB. */
function across({ bytes, width, height, step }, { left, right }, size, filter) {
  const columns = coefficients(filter, width, left, right, size);
  const narrow = new Uint8Array(height * size * 3);
  for (let row = 0, target = 0; row < height; row++) {
    const start = row * width * step;
    for (const { first, weights } of columns) {
      let red = HALF, green = HALF, blue = HALF;
      for (let tap = 0, source = start + first * step; tap < weights.length; tap++, source += step) {
        const weight = weights[tap];
        red += bytes[source] * weight;
        green += bytes[source + 1] * weight;
        blue += bytes[source + 2] * weight;
      }
      narrow[target++] = toByte(red);
      narrow[target++] = toByte(green);
      narrow[target++] = toByte(blue);
    }
  }
  return { bytes: narrow, width: size, height, step: 3 };
}

/** Every column of a picture, from `upper` to `lower`, to `size` pixels. */
function down({ bytes, width, height, step }, { upper, lower }, size, filter) {
  const stride = width * step;
  const low = new Uint8Array(size * stride);
  let target = 0;
  for (const { first, weights } of coefficients(filter, height, upper, lower, size)) {
    for (let column = 0; column < stride; column++) {
      let sum = HALF;
      for (let tap = 0, source = first * stride + column; tap < weights.length; tap++, source += stride) {
        sum += bytes[source] * weights[tap];
      }
      low[target++] = toByte(sum);
    }
  }
  return { bytes: low, width, height: size, step };
}

/** Bytes RGBA of an opaque picture, or of the part in a box, to RGB bytes of size x size. */
export function resize(rgba, width, height, { size, filter: name }, box = { left: 0, upper: 0, right: width, lower: height }) {
  const filter = FILTERS[name];
  const picture = { bytes: rgba, width, height, step: 4 };
  // As Pillow chooses; between the two passes bytes are rounded, so that their order counts.
  const downFirst = height - size > Math.max(0, 2 * (width - size));
  const resized = downFirst
    ? across(down(picture, box, size, filter), box, size, filter)
    : down(across(picture, box, size, filter), box, size, filter);
  return resized.bytes;
}

/** Width, height (before it is turned upright) and EXIF orientation of a JPEG, by its first bytes; undefined for other files. */
export function jpegSize(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.byteLength < 2 || view.getUint16(0) !== 0xffd8) return undefined;
  let orientation = 1;
  for (let at = 2; at + 9 <= view.byteLength && view.getUint8(at) === 0xff;) {
    const marker = view.getUint8(at + 1);
    const frame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (frame) return { width: view.getUint16(at + 7), height: view.getUint16(at + 5), orientation };
    if (marker === 0xe1) orientation = exifOrientation(view, at + 4) ?? orientation;
    at += marker === 0xff ? 1 : 2 + view.getUint16(at + 2); // 0xff may be repeated before a marker
  }
  return undefined;
}

/** 1 to 8, by the EXIF data that begin at a byte; undefined where there are none, or they end too early. */
function exifOrientation(view, start) {
  const tiff = start + 6;
  if (tiff + 8 > view.byteLength || view.getUint32(start) !== 0x45786966) return undefined; // "Exif"
  const little = view.getUint16(tiff) === 0x4949;
  const entries = tiff + view.getUint32(tiff + 4, little);
  for (let entry = entries + 2; entry + 12 <= view.byteLength; entry += 12) {
    if (entry >= entries + 2 + 12 * view.getUint16(entries, little)) break;
    if (view.getUint16(entry, little) === 0x112) return view.getUint16(entry + 8, little);
  }
  return undefined;
}

/**
 * The part of an upright picture, decoded at a part of its size, that the whole picture fills: decoders round the
 * sides up. All of it where the decoder gave other sides.
 */
export function filledBox({ width, height, orientation }, part, decoded) {
  let [across, down] = [width / part, height / part];
  if (orientation >= 5 && orientation <= 8) [across, down] = [down, across];
  if (decoded.width !== Math.ceil(across) || decoded.height !== Math.ceil(down)) [across, down] = [decoded.width, decoded.height];
  const left = [2, 3, 6, 7].includes(orientation) ? decoded.width - across : 0;
  const upper = [3, 4, 7, 8].includes(orientation) ? decoded.height - down : 0;
  return { left, upper, right: left + across, lower: upper + down };
}

/** To which part of its size a JPEG is decoded, 1, 2, 4 or 8, as `reduce` of Python's runtime decides. */
export function reduction({ width, height }, { size, decoding }) {
  const parts = width * height > MAX_PIXELS ? 2 : 1;
  const least = decoding === "reduced" ? 2 * size : Infinity;
  const [across, down] = [width, height].map((side) => Math.floor(side / Math.min(least, Math.floor(side / parts))));
  return [8, 4, 2].find((part) => Math.min(across, down) >= part) ?? 1;
}

/** RGB bytes to the model's input, channel by channel: `pixels * scale + offset` in float32. */
export function normalise(rgb, { size, mean, std }) {
  const plane = size * size;
  const input = new Float32Array(3 * plane);
  for (let channel = 0; channel < 3; channel++) {
    const scale = Math.fround(1 / (255 * std[channel]));
    const offset = Math.fround(-mean[channel] / std[channel]);
    for (let pixel = 0; pixel < plane; pixel++) {
      // Rounded after each operation, as float32 arithmetic is.
      input[channel * plane + pixel] = Math.fround(rgb[3 * pixel + channel] * scale) + offset;
    }
  }
  return input;
}
