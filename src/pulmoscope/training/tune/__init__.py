"""Tuning on Optuna: which settings of a recipe do best on the validation split."""
