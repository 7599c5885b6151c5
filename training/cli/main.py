"""The console scripts `train-model`, `evaluate-model` and `export-model`.

Options say where and which seed; the recipe says what. Failures are one line on stderr
and exit 1, bad usage exits 2.
"""

from model.cli import script
from training.cli.evaluate import evaluate_model
from training.cli.export import export_model
from training.cli.train import train_model

train_script = script(train_model)
evaluate_script = script(evaluate_model)
export_script = script(export_model)
