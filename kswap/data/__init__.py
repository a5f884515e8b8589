"""Pictures and their preprocessing."""
