"""Every question about a GPU in one run: `python -m benchmarks.gpu`, see `__main__`."""
