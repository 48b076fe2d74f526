"""Recipes: published systems as data."""
