"""Synthetic images and studies, drawn by a program."""
