"""Grad-CAM and its overlays."""
