"""One network of each family of timm, timed against its original: how far the gain in time goes beyond a favourite."""
