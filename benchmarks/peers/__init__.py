"""Other ways to serve the same model, for comparison."""
