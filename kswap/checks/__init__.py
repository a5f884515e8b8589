"""Saved conversions held against the budgets of a project: ``kswap check``."""
