"""Thin applications over the pipelines."""
