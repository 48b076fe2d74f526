"""Synthetic CT studies."""
