"""Converted models at work: optimised, exported and measured in the runtimes that will run them."""
