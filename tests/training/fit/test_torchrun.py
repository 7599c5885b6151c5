"""Two processes, one run: each takes its share, one folder comes out."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

import numpy as np
from PIL import Image

from training.runs.reading import read_checkpoint


def test_torchrun_trains_one_run_in_two_processes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for label in ("dark", "light"):
        for number in range(20):
            pixels = random.integers(0, 100, (28, 28), dtype=np.uint8) + 100 * (label == "light")
            place = tmp_path / "images" / label / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(place)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    script = str(Path(sys.executable).with_name("train-model"))
    options = ["--data", "images", "--out", "run", "--set", "epochs=1", "--set", "batch_size=8"]

    run = subprocess.run(
        [*command, "--no-python", script, *options],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    with (tmp_path / "run/metrics.csv").open(newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["0"]
    record, _ = read_checkpoint(tmp_path / "run")
    assert record.labels == ("dark", "light")
