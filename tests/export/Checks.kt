package org.distilcap.example

import org.json.JSONArray
import org.json.JSONObject

/** Answers test_kotlin.py: pictures resized, parts of their size at which JPEGs are decoded, sentences. */
fun main() {
    val given = JSONObject(System.`in`.bufferedReader().readText())
    val resized = given.getJSONArray("pictures").items<JSONObject>().map {
        val picture = Picture(it.integers("colours"), it.getInt("width"), it.getInt("height"))
        resize(picture, it.getInt("size"), Filter.valueOf(it.getString("filter").uppercase())).colours
    }
    val turned = given.getJSONArray("turned").items<JSONObject>().map {
        val filled = it.getJSONArray("filled")
        val box = Box(0.0, 0.0, filled.getDouble(0), filled.getDouble(1))
        val picture = Picture(it.integers("colours"), it.getInt("width"), it.getInt("height"), box)
        resize(picture.upright(it.getInt("orientation")), it.getInt("size"), Filter.BICUBIC).colours
    }
    val parts = given.getJSONArray("jpegs").items<JSONObject>().map {
        Preprocessing(it.getInt("size"), listOf(), listOf(), Filter.BICUBIC, it.getBoolean("reduced"))
            .reduction(it.getInt("width"), it.getInt("height"))
    }
    val sentences = given.getJSONArray("captions").items<JSONArray>().map {
        val words = it.items<String>()
        sentence(words.indices.map { index -> index + 4 }, listOf("", "", "", "") + words, spaced = false)
    }
    println(JSONObject().put("resized", resized).put("turned", turned).put("parts", parts).put("sentences", sentences))
}

@Suppress("UNCHECKED_CAST")
private fun <T> JSONArray.items() = List(length()) { get(it) as T }

private fun JSONObject.integers(name: String) = getJSONArray(name).let { IntArray(it.length()) { at -> it.getInt(at) } }
