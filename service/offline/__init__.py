"""From a folder of images to a CSV file, without a server: the command `predict-model`."""
