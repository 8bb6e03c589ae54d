package org.distilcap.example

import android.content.Context
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.media.ExifInterface
import java.io.File

/** All that needs Android: a bundle in an app's assets, and its pictures. */

/**
 * The captioner of the bundle in the app's assets, copied first, since the graphs read `decoder.bin` beside them.
 * Make it once and keep it; it copies every time, so that an app's update brings its own bundle.
 */
fun captioner(context: Context): Captioner {
    val folder = File(context.filesDir, "bundle").apply { mkdirs() }
    for (name in listOf("manifest.json", "encoder.onnx", "encode.onnx", "step.onnx", "greedy.onnx", "decoder.bin")) {
        context.assets.open("bundle/$name").use { source ->
            File(folder, name).outputStream().use { source.copyTo(it) }
        }
    }
    return Captioner(folder)
}

/** Captions of an upright photograph, best first; takes tens of milliseconds, so call it off the main thread. */
fun Captioner.caption(photo: Bitmap, beam: Int = manifest.decode.width): List<Caption> {
    // `ImageDecoder` leaves a photograph where only the graphics processor reads it; by name, for Android before 8.
    val readable = if (photo.config?.name == "HARDWARE") photo.copy(Bitmap.Config.ARGB_8888, false) else photo
    val colours = IntArray(photo.width * photo.height)
    readable.getPixels(colours, 0, photo.width, 0, 0, photo.width, photo.height)
    return caption(Picture(colours, photo.width, photo.height), beam)
}

/** A photograph, upright; a JPEG is decoded at the part of its size that the bundle reads. Null if it is none. */
fun Captioner.decode(photo: File): Picture? {
    val options = BitmapFactory.Options().apply { inJustDecodeBounds = true }
    BitmapFactory.decodeFile(photo.path, options)
    if (options.outWidth < 1) return null
    val (across, down) = options.outWidth to options.outHeight
    // Python and the page decode whole whatever is no JPEG.
    val part = if (options.outMimeType == "image/jpeg") manifest.preprocessing.reduction(across, down) else 1
    options.inSampleSize = part
    options.inJustDecodeBounds = false
    val bitmap = BitmapFactory.decodeFile(photo.path, options) ?: return null
    val (width, height) = bitmap.width to bitmap.height
    val colours = IntArray(width * height)
    bitmap.getPixels(colours, 0, width, 0, 0, width, height)
    // A decoder that rounded the sides down has left out what is beyond.
    val box = Box(0.0, 0.0, minOf(width.toDouble(), across.toDouble() / part), minOf(height.toDouble(), down.toDouble() / part))
    val orientation = ExifInterface(photo.path).getAttributeInt(ExifInterface.TAG_ORIENTATION, 1)
    return Picture(colours, width, height, box).upright(orientation)
}
