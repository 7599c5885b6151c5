"""What residual networks were invented for, measured instead of quoted.

Each module is one experiment: a question, a plan whose cost it states, rows for a CSV, a
figure. `training.experiments.run` repeats it over seeds, and goes on where it stopped;
`training.experiments.report` writes the results into docs/experiments.md.

    python -m training.experiments NAME [--seeds N] [--epochs N] [--limit N]
"""
