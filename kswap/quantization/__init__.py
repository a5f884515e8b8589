"""Exports in int8: calibrated on pictures, and measured against float32 and against the original."""
