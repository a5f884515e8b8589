"""Scans: many plans of one or several models, their latencies and trainings, and which of them are worth having."""
