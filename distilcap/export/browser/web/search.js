// Beam search over one picture: decode/beam.py, line for line.

const PAD = 0, BOS = 1, EOS = 2, UNK = 3;

/** Places of the `count` highest values, highest first; the first place wins a tie. */
function best(values, count) {
  const places = [];
  for (let place = 0; place < values.length; place++) {
    if (places.length === count && !(values[place] > values[places[count - 1]])) continue;
    let at = Math.min(places.length, count - 1);
    while (at > 0 && values[place] > values[places[at - 1]]) {
      places[at] = places[at - 1];
      at--;
    }
    places[at] = place;
  }
  return places;
}

/** Log of the sum of exponentials, in float64. */
function logSumExp(values) {
  let highest = -Infinity;
  for (const value of values) if (value > highest) highest = value;
  let sum = 0;
  for (const value of values) sum += Math.exp(value - highest);
  return highest + Math.log(sum);
}

/**
 * Find the likeliest captions.
 * `step(tokens, state)` reads the last word of each of K hypotheses and gives `{ logits, state }`: K rows of
 * V floats, and a state that `reorder(state, places)` can rearrange. `blocked` has the ids of words that are
 * never written, each with that of the word which gets its probability, or PAD. With `avoidRepeats`, captions that
 * write a pair of words twice come last.
 */
export async function search(step, reorder, state, { width, maxWords, lengthPenalty, allowUnk, blocked = [], avoidRepeats = false }) {
  const forbidden = new Set([PAD, BOS, ...(allowUnk ? [] : [UNK]), ...blocked.map(([word]) => word)]);
  let hypotheses = Array.from({ length: width }, (_, place) => ({
    tokens: [],
    logProb: place ? -Infinity : 0, // one empty hypothesis; its K best first words fill the beam
    last: BOS,
  }));
  for (let length = 0; length < maxWords; length++) {
    const after = await step(hypotheses.map((one) => one.last), state);
    const continuations = hypotheses.flatMap((one, place) => extend(one, place, moved(after.logits[place], blocked), width, forbidden));
    const chosen = best(continuations.map((one) => one.logProb), width).map((place) => continuations[place]);
    state = reorder(after.state, chosen.map((one) => one.place));
    hypotheses = chosen.map(({ place, word, logProb }) => ({
      tokens: word === PAD ? hypotheses[place].tokens : [...hypotheses[place].tokens, word],
      logProb,
      last: word,
    }));
    if (hypotheses.every(({ last }) => last === EOS || last === PAD)) break;
  }
  const rank = ({ tokens, logProb }) => logProb / Math.max(1, tokens.length) ** lengthPenalty;
  const behind = ({ tokens, logProb }) => Number(avoidRepeats && (repeats(tokens) || logProb === -Infinity));
  return hypotheses.sort((one, other) => behind(one) - behind(other) || rank(other) - rank(one));
}

/** Whether a caption has a pair of neighbouring words twice. */
function repeats(tokens) {
  const pairs = tokens.slice(1).map((word, place) => `${tokens[place]} ${word}`);
  return new Set(pairs).size < pairs.length;
}

/** Logits in which blocked words have given their probability to the words written instead. */
function moved(logits, blocked) {
  const pairs = blocked.filter(([, instead]) => instead !== PAD);
  if (!pairs.length) return logits;
  const after = Float32Array.from(logits);
  for (const [word, instead] of pairs) {
    after[instead] = logSumExp([after[instead], after[word]]);
    after[word] = -Infinity;
  }
  return after;
}

/** The best continuations of one hypothesis; a finished one goes on with a pad, at no cost. */
function extend({ logProb, last }, place, logits, width, forbidden) {
  const own = Math.min(width, logits.length);
  if (last === EOS || last === PAD) {
    return Array.from({ length: own }, (_, rank) => ({ place, word: PAD, logProb: rank ? -Infinity : logProb }));
  }
  const normaliser = logSumExp(logits);
  const allowed = Float32Array.from(logits, (logit, word) => (forbidden.has(word) ? -Infinity : logit));
  return best(allowed, own).map((word) => ({ place, word, logProb: logProb + allowed[word] - normaliser }));
}

// First characters of words of scripts without spaces: the ranges of text/unspaced.py.
const UNSPACED = new RegExp(
  "^["
  + "\\u0e00-\\u0eff\\u1000-\\u109f\\u1780-\\u17ff\\u2e80-\\u2fdf\\u3005-\\u3007\\u3021-\\u3035\\u3038-\\u30ff"
  + "\\u3105-\\u312f\\u31a0-\\u31bf\\u31f0-\\u31ff\\u3400-\\u4dbf\\u4e00-\\u9fff\\uf900-\\ufaff\\ua9e0-\\ua9ff"
  + "\\uaa60-\\uaa7f\\uff66-\\uff9f\\u{1aff0}-\\u{1b16f}\\u{20000}-\\u{3fffd}"
  + "]", "u",
);

/** Words up to the end token, with spaces between; where `spaced` is false, none beside scripts without. */
export function decode(tokens, vocabulary, spaced = true) {
  const end = tokens.indexOf(EOS);
  const words = (end < 0 ? tokens : tokens.slice(0, end)).map((token) => vocabulary[token]);
  if (spaced) return words.join(" ");
  const apart = (place) => place > 0 && !UNSPACED.test(words[place - 1]) && !UNSPACED.test(words[place]);
  return words.map((word, place) => (apart(place) ? ` ${word}` : word)).join("");
}
