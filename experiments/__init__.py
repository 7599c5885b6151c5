"""Published claims about residual networks, measured again.

Each module is one experiment: a question, a plan with its expected cost, rows for a CSV, and a
figure. `experiments.run` repeats it over seeds and continues where it was stopped;
`experiments.report` writes the results into docs/experiments.md.

    python -m experiments NAME [--seeds N] [--epochs N] [--limit N]
"""
