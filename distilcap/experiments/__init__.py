"""Experiments: stages named by their recipes, the store that builds them, results and reports.

Takes stages; gives artifacts, result rows, tables and pages. May use: every room but recipes and cli.
"""
