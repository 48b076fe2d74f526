"""Smaller networks: channels pruned away, and what a larger network knows taught to a smaller one."""
