"""Measurements: `python -m benchmarks NAME [OPTIONS]` runs the module of that name."""
