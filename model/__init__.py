"""What training and serving share: the family of networks, images, the artifact."""
