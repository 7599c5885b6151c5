"""Every number of a run."""
