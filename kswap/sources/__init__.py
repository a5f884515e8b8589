"""Where models come from: a name, a file or a module becomes a model and what it is called with."""
