"""Tracing, observing, matching and splicing. Knows nothing of files and terminals."""
