package org.distilcap.example

import org.json.JSONArray
import org.json.JSONObject
import java.io.File
import kotlin.math.exp

/**
 * What a program must know of a bundle beside its graphs: `manifest.json` of versions 1 and 2 (docs/bundle.md).
 * Checksums are not compared, since an app's files are signed with the app.
 */
class Manifest(content: JSONObject) {
    init {
        require(content.optString("format") == "distilcap bundle") { "this is no bundle's manifest" }
        require(content.getInt("version") in 1..2) { "the bundle is newer than this program" }
    }

    val vocabulary = content.getJSONArray("vocabulary").map { getString(it) }
    val spaced = content.optBoolean("spaced", true)
    val state = content.getJSONArray("state").map { getInt(it) }
    val memory = content.getInt("memory")
    val preprocessing = content.getJSONObject("preprocessing").let {
        Preprocessing(
            size = it.getInt("size"),
            mean = it.getJSONArray("mean").map { channel -> getDouble(channel) },
            std = it.getJSONArray("std").map { channel -> getDouble(channel) },
            filter = Filter.valueOf(it.getString("filter").uppercase()),
            reduced = it.optString("decoding") == "reduced",
        )
    }
    val decode = content.getJSONObject("decode").let {
        DecodeOptions(
            width = it.getInt("width"),
            maxWords = it.getInt("max_words"),
            lengthPenalty = it.getDouble("length_penalty"),
            allowUnk = it.getBoolean("allow_unk"),
            avoidRepeats = it.optBoolean("avoid_repeats"),
            blocked = it.optJSONObject("never_write")?.let(::blocked) ?: listOf(),
        )
    }
    private val calibration = content.optJSONObject("calibration")

    /** How often such captions are right, 0 to 1; null where the bundle has no calibration. */
    fun confidence(caption: Hypothesis): Double? = calibration?.let {
        val mean = caption.logProb / maxOf(1, caption.tokens.size)
        1 / (1 + exp(-(it.getDouble("slope") * mean + it.getDouble("intercept"))))
    }

    private fun blocked(words: JSONObject): List<Pair<Int, Int?>> {
        val ids = vocabulary.withIndex().associate { (id, word) -> word to id }
        return words.keys().asSequence()
            .map { ids.getValue(it) to if (words.isNull(it)) null else ids.getValue(words.getString(it)) }
            .sortedBy { it.first }
            .toList()
    }

    companion object {
        fun read(folder: File) = Manifest(JSONObject(File(folder, "manifest.json").readText()))
    }
}

private fun <T> JSONArray.map(item: JSONArray.(Int) -> T) = List(length()) { item(it) }
