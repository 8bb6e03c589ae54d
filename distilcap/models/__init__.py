"""Models: captioners that read `Regions` and predict words.

Takes `Regions` and token ids; gives logits. May use: shapes, text. Never: files of data, training, decoding.
README.md says what to read; `fast` may be skipped.
"""
