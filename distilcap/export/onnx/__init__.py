"""ONNX graphs: tracing, the greedy graph, precision, parity with PyTorch."""
