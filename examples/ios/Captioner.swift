import CoreGraphics
import Foundation

#if canImport(OnnxRuntimeBindings)
    import OnnxRuntimeBindings  // of the Swift package
#else
    import onnxruntime_objc  // of the pod
#endif

/// What `manifest.json` tells; more is in docs/bundle.md.
struct Manifest: Decodable {
    struct Preprocessing: Decodable {
        let size: Int
        let mean: [Float]
        let std: [Float]
    }
    /// From a caption's log-probability by its tokens to its confidence.
    struct Calibration: Decodable {
        let slope: Double
        let intercept: Double
        func confidence(_ meanLogProb: Double) -> Double { 1 / (1 + exp(-(slope * meanLogProb + intercept))) }
    }
    let format: String
    let version: Int
    let preprocessing: Preprocessing
    let vocabulary: [String]
    let spaced: Bool?
    let calibration: Calibration?
}

/// A caption, and how often such captions are as close to people's as people's are to each other (0 to 1), if known.
struct Caption {
    let text: String
    let confidence: Double?
}

/// First characters of words of scripts without spaces, as distilcap/text/unspaced.py has them.
private let unspaced =
    #"^[\x{e00}-\x{eff}\x{1000}-\x{109f}\x{1780}-\x{17ff}\x{2e80}-\x{2fdf}\x{3005}-\x{3007}\x{3021}-\x{3035}\x{3038}-\x{30ff}\x{3105}-\x{312f}\x{31a0}-\x{31bf}"#
    + #"\x{31f0}-\x{31ff}\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{f900}-\x{faff}\x{a9e0}-\x{a9ff}\x{aa60}-\x{aa7f}\x{ff66}-\x{ff9f}\x{1aff0}-\x{1b16f}\x{20000}-\x{3fffd}]"#

/// Words with spaces between; where the bundle is not `spaced`, none beside scripts without.
private func sentence(_ words: [String], spaced: Bool) -> String {
    if spaced { return words.joined(separator: " ") }
    let joins = words.map { $0.range(of: unspaced, options: .regularExpression) == nil }
    return words.indices.map { place in
        place > 0 && joins[place - 1] && joins[place] ? " " + words[place] : words[place]
    }.joined()
}

enum BundleError: Error { case notABundle, newerVersion, damaged }

/// Captions photographs from a bundle; greedy, by the single greedy graph, which holds the words that are never
/// written (`decode.never_write` of the manifest).
final class Captioner {
    private let manifest: Manifest
    private let environment: ORTEnv
    private let encoder: ORTSession
    private let greedy: ORTSession
    private let end = 2

    init(folder: URL) throws {
        let content = try Data(contentsOf: folder.appendingPathComponent("manifest.json"))
        manifest = try JSONDecoder().decode(Manifest.self, from: content)
        guard manifest.format == "distilcap bundle" else { throw BundleError.notABundle }
        guard (1...2).contains(manifest.version) else { throw BundleError.newerVersion }
        environment = try ORTEnv(loggingLevel: .warning)
        let options = try ORTSessionOptions()
        try options.setIntraOpNumThreads(2)
        let path = { (name: String) in folder.appendingPathComponent(name).path }
        encoder = try ORTSession(env: environment, modelPath: path("encoder.onnx"), sessionOptions: options)
        greedy = try ORTSession(env: environment, modelPath: path("greedy.onnx"), sessionOptions: options)
    }

    /// Of an upright photograph: a `CGImage` has no orientation, and `UIImage.cgImage` lies as the camera stored it
    /// (see the README). Call off the main thread; takes tens of milliseconds.
    func caption(_ photo: CGImage) throws -> Caption {
        let size = manifest.preprocessing.size
        var values = pixels(of: photo)
        let data = NSMutableData(bytes: &values, length: values.count * MemoryLayout<Float>.stride)
        let shape: [NSNumber] = [1, 3, NSNumber(value: size), NSNumber(value: size)]
        let input = try ORTValue(tensorData: data, elementType: .float, shape: shape)
        let seen = try encoder.run(withInputs: ["pixels": input], outputNames: ["features", "mask"], runOptions: nil)
        let found = try greedy.run(withInputs: seen, outputNames: ["tokens", "log_probs"], runOptions: nil)
        let logProb = try (found["log_probs"]!.tensorData() as Data).withUnsafeBytes { $0.load(as: Float.self) }
        guard logProb.isFinite else { throw BundleError.damaged }
        let tokens = try found["tokens"]!.tensorData() as Data
        let words = tokens.withUnsafeBytes { bytes in
            bytes.bindMemory(to: Int64.self)
                .prefix { $0 != end }
                .map { manifest.vocabulary[Int($0)] }
        }
        let count = max(1, tokens.count / MemoryLayout<Int64>.stride)
        return Caption(
            text: sentence(words, spaced: manifest.spaced ?? true),
            confidence: manifest.calibration?.confidence(Double(logProb) / Double(count)))
    }

    /// Channel by channel, (byte / 255 - mean) / std.
    private func pixels(of photo: CGImage) -> [Float] {
        let size = manifest.preprocessing.size
        var bytes = [UInt8](repeating: 255, count: 4 * size * size)
        bytes.withUnsafeMutableBytes { buffer in
            let context = CGContext(
                data: buffer.baseAddress, width: size, height: size, bitsPerComponent: 8, bytesPerRow: 4 * size,
                space: CGColorSpace(name: CGColorSpace.sRGB)!, bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)!
            context.interpolationQuality = .high
            context.draw(photo, in: CGRect(x: 0, y: 0, width: size, height: size))
        }
        let mean = manifest.preprocessing.mean, std = manifest.preprocessing.std
        return (0..<3).flatMap { channel in
            (0..<size * size).map { (Float(bytes[4 * $0 + channel]) / 255 - mean[channel]) / std[channel] }
        }
    }
}
