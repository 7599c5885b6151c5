"""The HTTP routes: one protocol a file."""
