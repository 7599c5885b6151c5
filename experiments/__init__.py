"""What residual networks were invented for, measured instead of quoted.

Each module is one experiment: a question, a plan whose cost it states, rows for a CSV, a
figure. `experiments.run` repeats it over seeds, and goes on where it stopped;
`experiments.report` writes the results into docs/experiments.md.

    python -m experiments NAME [--seeds N] [--epochs N] [--limit N]
"""
