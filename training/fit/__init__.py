"""Training: the loop, its preparation, its callbacks."""
