"""Stages and their store: artifacts named by their recipes, built once, whole or absent."""
