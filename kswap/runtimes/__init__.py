"""The runtimes, one file for each family: a model in, a ready forward pass out."""
