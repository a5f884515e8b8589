"""The sweep: every timm model converted, run, and held against its original; one row of a CSV each."""
