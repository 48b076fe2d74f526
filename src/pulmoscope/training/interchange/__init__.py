"""Models for other systems: a MONAI Bundle, an algorithm of grand-challenge.org."""
