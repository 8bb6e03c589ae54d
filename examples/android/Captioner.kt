package org.distilcap.example

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtLoggingLevel
import ai.onnxruntime.OrtSession
import java.io.File
import java.nio.FloatBuffer
import java.nio.LongBuffer

/**
 * A caption: its text, its ids, the end token included where it ended by itself, its log-probability in nats,
 * and how often such captions are right, 0 to 1, where the bundle was calibrated.
 */
class Caption(val text: String, val tokens: List<Int>, val logProb: Double, val confidence: Double?)

/**
 * Captions photographs from the bundle in `folder`. Plain Kotlin and ONNX Runtime, on a phone or not; a graph is
 * loaded when first used. Call it off the main thread, from one thread at a time.
 */
class Captioner(private val folder: File, threads: Int = 2) : AutoCloseable {
    val manifest = Manifest.read(folder)
    private val environment = OrtEnvironment.getEnvironment()
    private val sessions = mutableMapOf<String, OrtSession>()
    private val options = OrtSession.SessionOptions().apply {
        setIntraOpNumThreads(threads)
        setSessionLogLevel(OrtLoggingLevel.ORT_LOGGING_LEVEL_FATAL) // what fails is thrown, and need not be logged
        // Each graph has threads of its own: those that spin after their work would hold up the next graph's.
        addConfigEntry("session.intra_op.allow_spinning", "0")
    }

    /** Captions of a picture, best first: the greedy one, or the beam that the search ended with. */
    fun caption(picture: Picture, beam: Int = manifest.decode.width) =
        caption(pixels(picture, manifest.preprocessing), beam)

    /** The same, from what `pixels` gives. */
    fun caption(pixels: FloatArray, beam: Int = manifest.decode.width): List<Caption> {
        val size = manifest.preprocessing.size.toLong()
        return tensor(pixels, 1, 3, size, size).use { input ->
            session("encoder").run(mapOf("pixels" to input)).use { output ->
                val seen = listOf("features", "mask").associateWith { output.tensor(it) }
                val captions = if (beam == 1) listOf(greedy(seen)) else search(seen, beam)
                check(captions[0].logProb.isFinite()) { "the bundle gives NaN for this picture; it is damaged" }
                captions.map {
                    val text = sentence(it.tokens, manifest.vocabulary, manifest.spaced)
                    Caption(text, it.tokens, it.logProb, manifest.confidence(it))
                }
            }
        }
    }

    /** By the single greedy graph, which holds the words that are never written. */
    private fun greedy(seen: Map<String, OnnxTensor>): Hypothesis =
        session("greedy").run(seen).use { output ->
            val tokens = output.tensor("tokens").longBuffer
            Hypothesis(List(tokens.remaining()) { tokens.get().toInt() }, output.floats("log_probs")[0].toDouble())
        }

    private fun search(seen: Map<String, OnnxTensor>, beam: Int): List<Hypothesis> =
        session("encode").run(seen).use { output ->
            val memory = List(manifest.memory) { "memory_$it" }.associateWith { output.tensor(it) }
            val zeros = manifest.state.map { FloatArray(beam * it) }
            search(manifest.decode.copy(width = beam), zeros) { tokens, state -> step(tokens, state, memory) }
        }

    private fun step(tokens: LongArray, state: List<FloatArray>, memory: Map<String, OnnxTensor>): Step {
        val captions = tokens.size.toLong()
        val own = buildMap {
            put("tokens", OnnxTensor.createTensor(environment, LongBuffer.wrap(tokens), longArrayOf(1, captions)))
            manifest.state.forEachIndexed { index, width ->
                put("state_$index", tensor(state[index], 1, captions, width.toLong()))
            }
        }
        try {
            return session("step").run(memory + own).use { output ->
                Step(output.floats("logits"), state.indices.map { output.floats("next_$it") })
            }
        } finally {
            own.values.forEach(OnnxTensor::close)
        }
    }

    private fun session(graph: String) =
        sessions.getOrPut(graph) { environment.createSession(File(folder, "$graph.onnx").path, options) }

    private fun tensor(values: FloatArray, vararg shape: Long) =
        OnnxTensor.createTensor(environment, FloatBuffer.wrap(values), shape)

    private fun OrtSession.Result.tensor(name: String) = get(name).get() as OnnxTensor

    private fun OrtSession.Result.floats(name: String): FloatArray {
        val values = tensor(name).floatBuffer
        return FloatArray(values.remaining()).also { values.get(it) }
    }

    override fun close() {
        sessions.values.forEach(OrtSession::close)
        options.close()
    }
}
