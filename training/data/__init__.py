"""Labelled images: folders, Fashion-MNIST, splits, loading."""
