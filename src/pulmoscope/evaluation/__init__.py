"""Metrics with intervals, calibration and audits."""
