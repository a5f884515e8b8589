"""Training of converted models: a loop that continues after an interruption, recipes, and quicker steps."""
