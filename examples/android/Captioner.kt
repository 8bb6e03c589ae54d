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

/** Captions photographs from a bundle in the app's assets; greedy, by the single greedy graph. */
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
        require(manifest.getInt("version") == 1) { "The bundle is newer than this app." }
    }

    /** Call off the main thread; takes tens of milliseconds. */
    fun caption(photo: Bitmap): String {
        val shape = longArrayOf(1, 3, size.toLong(), size.toLong())
        OnnxTensor.createTensor(environment, FloatBuffer.wrap(pixels(photo)), shape).use { pixels ->
            encoder.run(mapOf("pixels" to pixels)).use { seen ->
                val inputs = mapOf(
                    "features" to seen.get("features").get() as OnnxTensor,
                    "mask" to seen.get("mask").get() as OnnxTensor,
                )
                greedy.run(inputs, setOf("tokens")).use { found ->
                    val tokens = (found.get("tokens").get() as OnnxTensor).longBuffer
                    return sentence(tokens)
                }
            }
        }
    }

    private fun sentence(tokens: LongBuffer): String =
        generateSequence { if (tokens.hasRemaining()) tokens.get().toInt() else null }
            .takeWhile { it != END }
            .joinToString(" ") { words[it] }

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
