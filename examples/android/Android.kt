package org.distilcap.example

import android.content.Context
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import java.io.File

/** All that needs Android: a bundle in an app's assets, and its pictures. */

/** The captioner of the bundle in the app's assets, copied once, since the graphs read `decoder.bin` beside them. */
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
    val colours = IntArray(photo.width * photo.height)
    photo.getPixels(colours, 0, photo.width, 0, 0, photo.width, photo.height)
    return caption(Picture(colours, photo.width, photo.height), beam)
}

/** A JPEG decoded at the part of its size that the bundle reads, still to be turned upright; null if it is none. */
fun Captioner.decode(jpeg: File): Bitmap? {
    val options = BitmapFactory.Options().apply { inJustDecodeBounds = true }
    BitmapFactory.decodeFile(jpeg.path, options)
    if (options.outWidth < 1) return null
    options.inSampleSize = manifest.preprocessing.reduction(options.outWidth, options.outHeight)
    options.inJustDecodeBounds = false
    return BitmapFactory.decodeFile(jpeg.path, options)
}
