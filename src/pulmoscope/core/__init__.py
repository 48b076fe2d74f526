"""Frozen types, errors and atomic files: what every room may use."""
