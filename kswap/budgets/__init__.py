"""A budget of parameters, MACs, bytes or time, spent where it costs the least accuracy."""
