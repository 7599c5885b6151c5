"""`python -m training.experiments`."""

from training.experiments.cli import main

main()
