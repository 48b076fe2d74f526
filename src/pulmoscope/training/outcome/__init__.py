"""Models of an outcome from values: fitted, chosen by cross-validation, calibrated, fused, written."""
