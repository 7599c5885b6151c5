"""The console scripts `train-model`, `evaluate-model` and `export-model`.

Options say where and which seed; the recipe says what. Failures are one line on stderr
and exit 1, bad usage exits 2. The scripts are installed without the extra `training`, too.
"""

import sys
from importlib import import_module

from training.cli.console import console_script


def train_script() -> None:
    """Run `train-model`."""
    _run("train", "train_model")


def evaluate_script() -> None:
    """Run `evaluate-model`."""
    _run("evaluate", "evaluate_model")


def export_script() -> None:
    """Run `export-model`."""
    _run("export", "export_model")


def _run(module: str, function: str) -> None:
    """Import a command and run it; say what to install where a package is missing."""
    try:
        command = getattr(import_module(f"training.cli.{module}"), function)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        is_bug = package in ("", "model", "training")
        if is_bug and error.name != f"training.cli.{module}":  # which the container leaves out
            raise
        extras = "cpu,training" if package == "onnxruntime" else "training"
        missing = "the extra `training`" if is_bug else package
        sys.stderr.write(f"error: {missing} is not installed: pip install '.[{extras}]'\n")
        sys.exit(1)
    console_script(command)()
