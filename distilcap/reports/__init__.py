"""Results as tables and pages: text, HTML, LaTeX, CSV, plots."""
