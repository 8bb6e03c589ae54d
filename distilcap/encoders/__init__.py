"""Encoders: pixels to regions.

Takes image files and weights; gives `Regions` and feature stores on disk.
May use: data, shapes, files. Never: captioners, captions, training of captioners, printing.
`pixels` is the part that needs no PyTorch: phones, browsers and the exported bundle repeat it.
"""
