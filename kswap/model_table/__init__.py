"""What kswap knows of every timm model: pointwise parameters, and what became of it in the sweep."""

from kswap.model_table.sweep_row import YES, SweepRow, append_row, read_rows
from kswap.model_table.table import ModelRow, matching, measure, merged, pointwise_convolutions, read_table, write_table

__all__ = [
    "YES",
    "ModelRow",
    "SweepRow",
    "append_row",
    "matching",
    "measure",
    "merged",
    "pointwise_convolutions",
    "read_rows",
    "read_table",
    "write_table",
]
