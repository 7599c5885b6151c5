"""Checkpoints from elsewhere: reading, fitting, labels, normalisation."""
