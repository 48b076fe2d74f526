"""Radiographs and single pictures."""
