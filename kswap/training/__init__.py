"""Training of converted models."""
