package org.distilcap.example

import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min

/** A part of a picture, in pixels. */
class Box(val left: Double, val upper: Double, val right: Double, val lower: Double)

/**
 * A picture, upright: `colours` row by row, each 0xAARRGGBB, as `Bitmap.getPixels` and `BufferedImage.getRGB` give
 * them. `box` is the part that is filled: a JPEG decoded at a part of its size has its sides rounded up.
 */
class Picture(
    val colours: IntArray,
    val width: Int,
    val height: Int,
    val box: Box = Box(0.0, 0.0, width.toDouble(), height.toDouble()),
) {
    /** The picture turned as its EXIF orientation says, 1 to 8. */
    fun upright(orientation: Int): Picture {
        if (orientation !in 2..8) return this
        val turned = orientation >= 5
        val mirrored = orientation in listOf(2, 3, 6, 7)
        val upsideDown = orientation in listOf(3, 4, 7, 8)
        val (across, down) = if (turned) height to width else width to height
        val upright = IntArray(colours.size) {
            val x = if (mirrored) across - 1 - it % across else it % across
            val y = if (upsideDown) down - 1 - it / across else it / across
            if (turned) colours[x * width + y] else colours[y * width + x]
        }
        val (left, right) = if (turned) box.upper to box.lower else box.left to box.right
        val (upper, lower) = if (turned) box.left to box.right else box.upper to box.lower
        val filled = Box(
            if (mirrored) across - right else left,
            if (upsideDown) down - lower else upper,
            if (mirrored) across - left else right,
            if (upsideDown) down - upper else lower,
        )
        return Picture(upright, across, down, filled)
    }
}

/** How a picture becomes the encoder's input: `preprocessing` of the manifest. */
class Preprocessing(
    val size: Int,
    val mean: List<Double>,
    val std: List<Double>,
    val filter: Filter,
    val reduced: Boolean,
) {
    /** To which part of its size a JPEG is decoded, 1, 2, 4 or 8, as `distilcap/runtime/large.py` decides. */
    fun reduction(width: Int, height: Int): Int {
        val parts = if (width.toLong() * height > MAX_PIXELS) 2 else 1
        val least = if (reduced) 2 * size else Int.MAX_VALUE
        val part = listOf(width, height).minOf { side -> side / max(1, min(least, side / parts)) }
        return listOf(8, 4, 2).firstOrNull { part >= it } ?: 1
    }

    private companion object {
        const val MAX_PIXELS = 89_478_485 // that are decoded whole
    }
}

enum class Filter(val support: Double, val at: (Double) -> Double) {
    /** Triangle of half-width 1. */
    BILINEAR(1.0, { x -> max(0.0, 1 - abs(x)) }),

    /** Keys 1981, equation 4, with a = -1/2. */
    BICUBIC(2.0, { signed ->
        val x = abs(signed)
        if (x < 1) (1.5 * x - 2.5) * x * x + 1 else if (x < 2) (((x - 5) * x + 8) * x - 4) * -0.5 else 0.0
    }),
}

/** The encoder's input (1, 3, S, S): resized as Pillow does, then `byte * scale + offset` channel by channel. */
fun pixels(picture: Picture, preprocessing: Preprocessing): FloatArray {
    val colours = resize(picture, preprocessing.size, preprocessing.filter).colours
    val input = FloatArray(3 * colours.size)
    for (channel in 0 until 3) {
        val scale = (1 / (255 * preprocessing.std[channel])).toFloat()
        val offset = (-preprocessing.mean[channel] / preprocessing.std[channel]).toFloat()
        for (pixel in colours.indices) {
            val byte = colours[pixel] shr (16 - 8 * channel) and 0xFF
            input[channel * colours.size + pixel] = byte * scale + offset
        }
    }
    return input
}

/**
 * The whole picture in size x size pixels, 0xRRGGBB each: Pillow's antialiased resizing, to the byte.
 * (`Bitmap.createScaledBitmap` is another.)
 */
fun resize(picture: Picture, size: Int, filter: Filter): Picture {
    val opaque = onWhite(picture)
    // As Pillow 13 chooses; between the two passes bytes are rounded, so that their order counts.
    val downFirst = picture.height - size > maxOf(0, 2 * (picture.width - size))
    if (downFirst) return across(down(opaque, size, filter), size, filter)
    return down(across(opaque, size, filter), size, filter)
}

private fun across(picture: Picture, size: Int, filter: Filter): Picture {
    val weights = weights(filter, picture.width, picture.box.left, picture.box.right, size)
    val colours = IntArray(size * picture.height) {
        val own = weights[it % size]
        weighted(picture.colours, it / size * picture.width + own.first, 1, own.fixed)
    }
    return Picture(colours, size, picture.height, picture.box)
}

private fun down(picture: Picture, size: Int, filter: Filter): Picture {
    val width = picture.width
    val weights = weights(filter, picture.height, picture.box.upper, picture.box.lower, size)
    val colours = IntArray(width * size) {
        val own = weights[it / width]
        weighted(picture.colours, own.first * width + it % width, width, own.fixed)
    }
    return Picture(colours, width, size, picture.box)
}

/** The weighted sum of colours, each `stride` after the one before. */
private fun weighted(colours: IntArray, first: Int, stride: Int, fixed: IntArray): Int {
    var red = HALF
    var green = HALF
    var blue = HALF
    var source = first
    for (weight in fixed) {
        val colour = colours[source]
        red += (colour shr 16 and 0xFF) * weight
        green += (colour shr 8 and 0xFF) * weight
        blue += (colour and 0xFF) * weight
        source += stride
    }
    return (byte(red) shl 16) or (byte(green) shl 8) or byte(blue)
}

private const val BITS = 22 // of a weight's fraction, as in Pillow's resampling of bytes
private const val HALF = 1 shl (BITS - 1)

private fun byte(sum: Int) = (sum shr BITS).coerceIn(0, 255)

/** What an output reads: inputs from `first` on, with fixed-point weights. */
private class Weights(val first: Int, val fixed: IntArray)

private fun weights(filter: Filter, inputs: Int, begin: Double, end: Double, outputs: Int): List<Weights> {
    val scale = (end - begin) / outputs
    val stretch = max(scale, 1.0) // wider when shrinking, so that every input counts
    val support = filter.support * stretch
    return List(outputs) { output ->
        val center = begin + (output + 0.5) * scale
        val first = max(0, (center - support + 0.5).toInt())
        val last = min(inputs, (center + support + 0.5).toInt())
        val exact = DoubleArray(last - first) { filter.at((it + first - center + 0.5) * (1 / stretch)) }
        val sum = exact.sum()
        Weights(first, IntArray(exact.size) {
            val value = (if (sum != 0.0) exact[it] / sum else exact[it]) * (1 shl BITS)
            (if (value < 0) value - 0.5 else value + 0.5).toInt()
        })
    }
}

/** Transparency onto white, rounded as by Pillow's `alpha_composite`. */
private fun onWhite(picture: Picture): Picture {
    if (picture.colours.all { it ushr 24 == 255 }) return picture
    val colours = IntArray(picture.colours.size) { pixel ->
        val alpha = picture.colours[pixel] ushr 24
        listOf(16, 8, 0).fold(0) { colour, shift ->
            val byte = picture.colours[pixel] shr shift and 0xFF
            val sum = (byte * alpha + 255 * (255 - alpha) shl 7) + (0x80 shl 7)
            (colour shl 8) or ((sum shr 8) + sum shr 15)
        }
    }
    return Picture(colours, picture.width, picture.height, picture.box)
}
