"""What is served: the folder, its manifest, its card."""
