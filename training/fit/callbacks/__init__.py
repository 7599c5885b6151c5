"""What happens within the loop: checkpoints, EMA, progress, interruption."""
