"""The notebook, run from its first cell to its last, on few images."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from training.data.fashion_mnist import FOLDERS, has_idx_files

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples/residual_block.ipynb"


@pytest.mark.skipif(not any(map(has_idx_files, FOLDERS)), reason="Fashion-MNIST is not installed")
def test_the_notebook_runs_from_its_first_cell_to_its_last(tmp_path: Path) -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    small = {"NOTEBOOK_IMAGES": "512", "NOTEBOOK_EPOCHS": "1", "NOTEBOOK_OUT": f"{tmp_path}/run"}

    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **small, "MPLBACKEND": "agg", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    assert "truth: Ankle boot" in run.stdout
    assert run.stdout.count("%") >= 3


def test_the_notebook_is_kept_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]

    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]
