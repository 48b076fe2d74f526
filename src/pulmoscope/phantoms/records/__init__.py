"""Simulated records of patients, whose truth is known."""
