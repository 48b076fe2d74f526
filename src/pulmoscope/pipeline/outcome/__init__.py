"""Models of an outcome from values: evaluated, and applied to tables."""
