"""Two processes, one run: each has its share and random numbers; one folder comes out."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

import numpy as np
import torch
from PIL import Image

from training.runs.reading import read_checkpoint

# `train-model`, where each process keeps what it saw: its images and random states a step, and its
# last weights.
WATCHED = """
import torch
from training.cli.main import train_script
from training.fit import module
from training.fit.callbacks.progress import EpochTable

seen, augment = [], module.augment

def watch(images, recipe, generator, size):
    seen.append((images, generator.get_state(), torch.get_rng_state()))
    return augment(images, recipe, generator, size)

def keep(_, trainer, classifier):
    weights = torch.cat([each.detach().flatten() for each in classifier.parameters()])
    kept = {"seen": seen, "weights": weights}
    torch.save(kept, f"rank{trainer.global_rank}-{trainer.current_epoch}.pt")

module.augment, EpochTable.on_fit_end = watch, keep
train_script()
"""


def _torchrun(folder: Path, *options: str) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    (folder / "watched.py").write_text(WATCHED, encoding="utf-8")
    run = subprocess.run(
        [*command, "watched.py", "--out", "run", *options],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def _images(root: Path) -> Path:
    random = np.random.default_rng(0)
    for label in ("dark", "light"):
        for number in range(20):
            pixels = random.integers(0, 100, (28, 28), dtype=np.uint8) + 100 * (label == "light")
            place = root / "images" / label / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(place)
    return root / "images"


def test_torchrun_trains_one_run_in_two_processes(tmp_path: Path) -> None:
    images = str(_images(tmp_path))

    _torchrun(tmp_path, "--data", images, "--set", "epochs=1", "--set", "batch_size=8")

    with (tmp_path / "run/metrics.csv").open(newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["0"]
    record, _ = read_checkpoint(tmp_path / "run")
    assert record.labels == ("dark", "light")
    ranks = [torch.load(tmp_path / f"rank{rank}-1.pt", weights_only=True) for rank in (0, 1)]
    shares = [
        {each.numpy().tobytes() for batch in rank["seen"] for each in batch[0]} for rank in ranks
    ]
    assert len(shares[0] & shares[1]) <= 1  # an odd image makes both shares equally long
    assert torch.equal(ranks[0]["weights"], ranks[1]["weights"])
    for first, second in zip(ranks[0]["seen"], ranks[1]["seen"], strict=True):
        assert not torch.equal(first[1], second[1])  # augmentation
        assert not torch.equal(first[2], second[2])  # torch's own
    last = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    augmentation = last["random_by_rank"]["augmentation"]
    assert torch.equal(augmentation[0], last["random"]["augmentation"])
    assert not torch.equal(augmentation[0], augmentation[1])
