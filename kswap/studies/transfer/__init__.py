"""A trained network made small in several ways, distilled alike, and compared in accuracy, parameters and latency."""
