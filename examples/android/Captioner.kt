package org.distilcap.example

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import android.content.Context
import android.graphics.Bitmap
import org.json.JSONObject
import java.io.File
import java.nio.FloatBuffer
import java.nio.LongBuffer
import kotlin.math.exp

/** A caption, and how often such captions are as close to people's as people's are to each other (0 to 1), if known. */
data class Caption(val text: String, val confidence: Double?)

/**
 * Captions photographs from a bundle in the app's assets; greedy, by the single greedy graph, which holds the
 * words that are never written (`decode.never_write` of the manifest).
 */
class Captioner(context: Context) : AutoCloseable {
    private val environment = OrtEnvironment.getEnvironment()
    private val folder = unpacked(context)
    private val manifest = JSONObject(File(folder, "manifest.json").readText())
    private val words = manifest.getJSONArray("vocabulary").let { list -> List(list.length()) { list.getString(it) } }
    private val preprocessing = manifest.getJSONObject("preprocessing")
    private val size = preprocessing.getInt("size")
    private val options = OrtSession.SessionOptions().apply { setIntraOpNumThreads(2) }
    private val encoder = environment.createSession(File(folder, "encoder.onnx").path, options)
    private val greedy = environment.createSession(File(folder, "greedy.onnx").path, options)

    init {
        require(manifest.getString("format") == "distilcap bundle") { "The assets hold no bundle." }
        require(manifest.getInt("version") in 1..2) { "The bundle is newer than this app." }
    }

    /** Call off the main thread; takes tens of milliseconds. */
    fun caption(photo: Bitmap): Caption {
        val shape = longArrayOf(1, 3, size.toLong(), size.toLong())
        OnnxTensor.createTensor(environment, FloatBuffer.wrap(pixels(photo)), shape).use { pixels ->
            encoder.run(mapOf("pixels" to pixels)).use { seen ->
                val inputs = mapOf(
                    "features" to seen.get("features").get() as OnnxTensor,
                    "mask" to seen.get("mask").get() as OnnxTensor,
                )
                greedy.run(inputs, setOf("tokens", "log_probs")).use { found ->
                    val tokens = (found.get("tokens").get() as OnnxTensor).longBuffer
                    val logProb = (found.get("log_probs").get() as OnnxTensor).floatBuffer.get()
                    val meanLogProb = logProb.toDouble() / maxOf(1, tokens.remaining())
                    return Caption(sentence(tokens), confidence(meanLogProb))
                }
            }
        }
    }

    private fun confidence(meanLogProb: Double): Double? {
        val calibration = manifest.optJSONObject("calibration") ?: return null
        return 1 / (1 + exp(-(calibration.getDouble("slope") * meanLogProb + calibration.getDouble("intercept"))))
    }

    /** With spaces between words; where the bundle is not `spaced`, none beside scripts without. */
    private fun sentence(tokens: LongBuffer): String {
        val caption = generateSequence { if (tokens.hasRemaining()) tokens.get().toInt() else null }
            .takeWhile { it != END }
            .map { words[it] }
            .toList()
        if (manifest.optBoolean("spaced", true)) return caption.joinToString(" ")
        val text = StringBuilder()
        caption.forEachIndexed { place, word ->
            val apart = place > 0 && !UNSPACED.containsMatchIn(caption[place - 1]) && !UNSPACED.containsMatchIn(word)
            text.append(if (apart) " $word" else word)
        }
        return text.toString()
    }

    /** Channel by channel, (byte / 255 - mean) / std. */
    private fun pixels(photo: Bitmap): FloatArray {
        val square = Bitmap.createScaledBitmap(photo, size, size, true)
        val colours = IntArray(size * size)
        square.getPixels(colours, 0, size, 0, 0, size, size)
        val mean = preprocessing.getJSONArray("mean")
        val std = preprocessing.getJSONArray("std")
        return FloatArray(3 * size * size) { place ->
            val channel = place / (size * size)
            val byte = (colours[place % (size * size)] shr (16 - 8 * channel)) and 0xFF
            ((byte / 255.0 - mean.getDouble(channel)) / std.getDouble(channel)).toFloat()
        }
    }

    override fun close() {
        encoder.close()
        greedy.close()
    }

    private companion object {
        const val END = 2

        /** First characters of words of scripts without spaces, as distilcap/text/unspaced.py has them. */
        val UNSPACED = Regex(
            """^[\x{e00}-\x{eff}\x{1000}-\x{109f}\x{1780}-\x{17ff}\x{2e80}-\x{2fdf}\x{3005}-\x{3007}\x{3021}-\x{3035}\x{3038}-\x{30ff}\x{3105}-\x{312f}\x{31a0}-\x{31bf}""" +
                """\x{31f0}-\x{31ff}\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{f900}-\x{faff}\x{a9e0}-\x{a9ff}\x{aa60}-\x{aa7f}\x{ff66}-\x{ff9f}\x{1aff0}-\x{1b16f}\x{20000}-\x{3fffd}]"""
        )

        /** The bundle as files, since `greedy.onnx` reads `decoder.bin` beside it. */
        fun unpacked(context: Context): File {
            val folder = File(context.filesDir, "bundle").apply { mkdirs() }
            for (name in listOf("manifest.json", "encoder.onnx", "greedy.onnx", "decoder.bin")) {
                context.assets.open("bundle/$name").use { source ->
                    File(folder, name).outputStream().use { source.copyTo(it) }
                }
            }
            return folder
        }
    }
}
