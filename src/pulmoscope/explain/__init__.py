"""Heat maps, how much of them lies within the lungs, and overlays."""
