"""Admission, queue, batches, the engine and its cost model."""
