"""From a picture over HTTP to labels and probabilities."""
