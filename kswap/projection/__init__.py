"""Blocks derived from the trained layers that they replace: moments of the data, fits by kind, and matched norms."""
