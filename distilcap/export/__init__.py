"""Export: a trained run as a bundle that phones, browsers and plain Python caption from.

Takes a folder with a trained captioner; gives a bundle (ONNX graphs and a manifest), its runtime without
PyTorch, a web page, a phone's program, and their timings.
May use: decode, models, encoders, metrics, data, text. Never: training, printing.
The runtime without PyTorch is `distilcap.runtime`.
"""
