"""Studies: what the method costs and what it beats, measured by one command each."""
