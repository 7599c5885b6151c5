"""`python -m training.experiments`."""

from training.experiments.cli import main

if __name__ == "__main__":
    main()
