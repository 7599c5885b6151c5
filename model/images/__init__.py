"""Image files, in training and in serving alike: formats, metadata, orientation."""
