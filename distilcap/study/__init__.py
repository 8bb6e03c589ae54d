"""The paper's tables: rows, presets, published numbers, estimates, conclusions."""
