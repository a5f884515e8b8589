"""Trained networks made small: distillation, and the way from a network to a small one in one command."""
