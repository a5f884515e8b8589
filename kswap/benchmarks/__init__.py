"""Original and rewritten model side by side: time, memory, bytes."""
