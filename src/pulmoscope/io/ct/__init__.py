"""CT studies."""
