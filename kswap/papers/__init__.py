"""Recipes and tables of the papers."""
