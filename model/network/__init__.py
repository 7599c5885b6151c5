"""The family in torch."""
