package org.distilcap.example

import org.json.JSONObject
import java.awt.color.ColorSpace
import java.awt.image.BufferedImage
import java.io.File
import javax.imageio.ImageIO
import kotlin.system.exitProcess

/** Captions photographs on any machine with Java: a JSON object a line, and the milliseconds at the end. */
fun main(arguments: Array<String>) {
    val beam = arguments.getOrNull(1)?.toIntOrNull() ?: 0
    if (arguments.size < 3 || beam < 1) {
        System.err.println("Arguments: BUNDLE BEAM PHOTO…; a beam of 1 is greedy.")
        exitProcess(2)
    }
    val photos = arguments.drop(2).map(::File)
    val failed = try {
        Captioner(File(arguments[0]), threads = 1).use { captions(it, beam, photos) }
    } catch (error: Exception) { // of ONNX Runtime, JSON and files alike
        System.err.println("${arguments[0]}: ${error.message}")
        exitProcess(2)
    }
    if (failed > 0) exitProcess(2)
}

/** Prints the caption of each photograph; gives how many could not be read. */
private fun captions(captioner: Captioner, beam: Int, photos: List<File>): Int {
    val ofPixels = mutableListOf<Double>()
    val ofCaptions = mutableListOf<Double>()
    for (photo in photos) {
        val picture = read(photo) ?: continue
        val began = System.nanoTime()
        val pixels = pixels(picture, captioner.manifest.preprocessing)
        val resized = System.nanoTime()
        val caption = captioner.caption(pixels, beam)[0]
        ofPixels += (resized - began) / 1e6
        ofCaptions += (System.nanoTime() - resized) / 1e6
        println(
            JSONObject()
                .put("photo", photo.path)
                .put("caption", caption.text)
                .put("tokens", caption.tokens)
                .put("log_prob", caption.logProb)
                .put("confidence", caption.confidence)
        )
    }
    if (ofPixels.isNotEmpty()) {
        System.err.println("Median milliseconds: ${median(ofPixels)} of pixels, ${median(ofCaptions)} of a caption.")
    }
    return photos.size - ofPixels.size
}

/** Decoded whole, and not turned: Java reads no EXIF. Null, and a line that says so, if it is no picture. */
private fun read(photo: File): Picture? {
    val image = try {
        ImageIO.read(photo)
    } catch (error: java.io.IOException) {
        null
    }
    if (image == null) System.err.println("$photo: not a picture that Java can read.")
    return image?.let { Picture(colours(it), it.width, it.height) }
}

private fun colours(image: BufferedImage): IntArray {
    val (width, height) = image.width to image.height
    val colours = image.getRGB(0, 0, width, height, null, 0, width)
    if (image.colorModel.colorSpace.type != ColorSpace.TYPE_GRAY) return colours
    // Java takes grey for linear light and would brighten it; of 8 or 16 bits, with alpha or without.
    val grey = image.raster.getSamples(0, 0, width, height, 0, null as IntArray?)
    val white = (1 shl image.colorModel.getComponentSize(0)) - 1
    return IntArray(grey.size) { colours[it] ushr 24 shl 24 or (255 * grey[it] + white / 2) / white * 0x010101 }
}

private fun median(values: List<Double>) = "%.1f".format(values.sorted()[values.size / 2])
