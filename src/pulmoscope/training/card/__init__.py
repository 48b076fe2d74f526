"""Model cards, and the figures that they hold."""
