"""A network's answers on a split, and their figures."""
