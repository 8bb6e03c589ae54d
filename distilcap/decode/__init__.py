"""Decoding: captions from a captioner, by beam search or by sampling.

Takes a `Captioner` and `Regions`; gives `Hypotheses`. May use: models, shapes, text. Never: files, training.
"""
