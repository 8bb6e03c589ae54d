package org.distilcap.example

import kotlin.math.exp
import kotlin.math.ln
import kotlin.math.min
import kotlin.math.pow

private const val PAD = 0
private const val BOS = 1
private const val EOS = 2
private const val UNK = 3

/**
 * How captions are searched for: `decode` of the manifest. `blocked` has the ids of words that are never written,
 * each with that of the word that gets its probability, or null. With `avoidRepeats`, captions that write a pair of
 * words twice come last.
 */
data class DecodeOptions(
    val width: Int,
    val maxWords: Int,
    val lengthPenalty: Double,
    val allowUnk: Boolean,
    val blocked: List<Pair<Int, Int?>>,
    val avoidRepeats: Boolean,
) {
    val forbidden = setOf(PAD, BOS) + (if (allowUnk) setOf() else setOf(UNK)) + blocked.map { it.first }
}

/** Tokens of a caption, its end token included, and their log-probability in nats. */
class Hypothesis(val tokens: List<Int>, val logProb: Double)

/** What a step gives for K hypotheses: logits (K, V), and tensors of the state (K, H). */
class Step(val logits: FloatArray, val state: List<FloatArray>)

private class Beam(val tokens: List<Int>, val logProb: Double, val last: Int) {
    val finished get() = last == EOS || last == PAD
}

private class Continuation(val parent: Int, val word: Int, val logProb: Double)

/**
 * The likeliest captions of one image, best first: `distilcap/runtime/search.py`, line for line.
 * `step` reads the last word of each of K hypotheses; `state` is that before the first word.
 */
fun search(
    options: DecodeOptions,
    state: List<FloatArray>,
    step: (LongArray, List<FloatArray>) -> Step,
): List<Hypothesis> {
    val width = options.width
    // One empty hypothesis; its K best first words fill the beam.
    var beam = List(width) { Beam(listOf(), if (it == 0) 0.0 else Double.NEGATIVE_INFINITY, BOS) }
    var before = state
    for (length in 0 until options.maxWords) {
        val after = step(LongArray(width) { beam[it].last.toLong() }, before)
        val words = after.logits.size / width
        val continuations = beam.flatMapIndexed { parent, hypothesis ->
            extend(hypothesis, parent, after.logits.copyOfRange(parent * words, (parent + 1) * words), options)
        }
        val chosen = best(continuations.size, width) { continuations[it].logProb }.map { continuations[it] }
        before = after.state.map { reordered(it, chosen.map(Continuation::parent)) }
        beam = chosen.map {
            val tokens = beam[it.parent].tokens
            Beam(if (it.word == PAD) tokens else tokens + it.word, it.logProb, it.word)
        }
        if (beam.all { it.finished }) break
    }
    return beam
        .sortedByDescending { it.logProb / maxOf(1, it.tokens.size).toDouble().pow(options.lengthPenalty) }
        .sortedBy { options.avoidRepeats && (it.logProb == Double.NEGATIVE_INFINITY || repeats(it.tokens)) }
        .map { Hypothesis(it.tokens, it.logProb) }
}

/** Whether a caption has a pair of neighbouring words twice. */
private fun repeats(tokens: List<Int>): Boolean = tokens.zipWithNext().let { it.toSet().size < it.size }

/** The best continuations of one hypothesis; a finished one goes on with a pad, at no cost. */
private fun extend(beam: Beam, parent: Int, logits: FloatArray, options: DecodeOptions): List<Continuation> {
    val own = min(options.width, logits.size)
    if (beam.finished) {
        return List(own) { Continuation(parent, PAD, if (it == 0) beam.logProb else Double.NEGATIVE_INFINITY) }
    }
    for ((word, instead) in options.blocked) {
        if (instead == null) continue
        logits[instead] = logSumExp(floatArrayOf(logits[instead], logits[word])).toFloat()
        logits[word] = Float.NEGATIVE_INFINITY
    }
    val normaliser = logSumExp(logits)
    for (word in options.forbidden) logits[word] = Float.NEGATIVE_INFINITY
    return best(logits.size, own) { logits[it].toDouble() }
        .map { Continuation(parent, it, beam.logProb + logits[it] - normaliser) }
}

private fun logSumExp(values: FloatArray): Double {
    val highest = values.max().toDouble()
    return highest + ln(values.sumOf { exp(it - highest) })
}

/** Indices of the `count` highest of `size` values, highest first; the first index wins a tie. */
private inline fun best(size: Int, count: Int, value: (Int) -> Double): List<Int> {
    val indices = IntArray(count)
    val values = DoubleArray(count)
    var filled = 0
    for (index in 0 until size) {
        val own = value(index)
        if (filled == count && !(own > values[count - 1])) continue
        var at = if (filled < count) filled++ else count - 1
        while (at > 0 && own > values[at - 1]) {
            values[at] = values[at - 1]
            indices[at] = indices[at - 1]
            at--
        }
        values[at] = own
        indices[at] = index
    }
    return indices.take(filled)
}

/** Rows of a tensor (K, H) in another order. */
private fun reordered(tensor: FloatArray, rows: List<Int>): FloatArray {
    val size = tensor.size / rows.size
    val moved = FloatArray(tensor.size)
    rows.forEachIndexed { to, from -> tensor.copyInto(moved, to * size, from * size, (from + 1) * size) }
    return moved
}

/** Words up to the end token, with spaces between; where not `spaced`, none beside words of scripts without. */
fun sentence(tokens: List<Int>, vocabulary: List<String>, spaced: Boolean): String {
    val words = tokens.takeWhile { it != EOS }.map { vocabulary[it] }
    if (spaced) return words.joinToString(" ")
    val text = StringBuilder()
    words.forEachIndexed { index, word ->
        val apart = index > 0 && !UNSPACED.containsMatchIn(words[index - 1]) && !UNSPACED.containsMatchIn(word)
        text.append(if (apart) " $word" else word)
    }
    return text.toString()
}

/** First characters of words of scripts without spaces, as distilcap/text/unspaced.py has them. */
private val UNSPACED = Regex(
    """^[\x{e00}-\x{eff}\x{1000}-\x{109f}\x{1780}-\x{17ff}\x{2e80}-\x{2fdf}\x{3005}-\x{3007}\x{3021}-\x{3035}\x{3038}-\x{30ff}\x{3105}-\x{312f}\x{31a0}-\x{31bf}""" +
        """\x{31f0}-\x{31ff}\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{f900}-\x{faff}\x{a9e0}-\x{a9ff}\x{aa60}-\x{aa7f}\x{ff66}-\x{ff9f}\x{1aff0}-\x{1b16f}\x{20000}-\x{3fffd}]"""
)
