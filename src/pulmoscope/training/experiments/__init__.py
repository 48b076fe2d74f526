"""Comparisons of system A: losses, imputers, damage."""
