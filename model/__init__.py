"""What training and serving share: the family, the picture, the artifact."""
