"""The sweep: every timm model converted, run and compared with its original; a row of a CSV each."""
