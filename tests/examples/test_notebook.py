"""The notebook, run from its first cell to its last, on few images."""

import json
from pathlib import Path

import pytest

from training.data.fashion_mnist import FOLDERS, has_idx_files

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples/residual_block.ipynb"


@pytest.mark.skipif(not any(map(has_idx_files, FOLDERS)), reason="Fashion-MNIST is not installed")
def test_the_notebook_runs_from_its_first_cell_to_its_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    small = {"NOTEBOOK_IMAGES": "256", "NOTEBOOK_EPOCHS": "1", "NOTEBOOK_OUT": f"{tmp_path}/run"}
    for name, value in {**small, "PYTHONPATH": str(ROOT)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(ROOT)

    exec(compile(code, str(NOTEBOOK), "exec"), {"__name__": "__main__"})  # noqa: S102

    shown = capsys.readouterr().out
    assert "truth: Ankle boot" in shown
    assert shown.count("%") >= 3


def test_the_notebook_is_kept_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]

    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]
