"""Measuring and looking at models: pictures, preprocessing, accuracy, class activation maps."""
