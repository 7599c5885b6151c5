"""`evaluate-model` decodes the split that it measures, and hashes the others; with a table, too."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from PIL import Image

from model.images.image_file import open_image_file
from tests.conftest import Command, MakeImages
from training.cli.main import evaluate_script, train_script


def test_evaluation_decodes_the_test_split_alone_and_knows_the_runs_own_data(
    command: Command, make_images: MakeImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, run = make_images(labels={"boot": 20, "coat": 20}), tmp_path / "run"
    quick = ("--set", "epochs=1", "--set", "batch_size=16", "--set", "precision=float32")
    table = images / "pictures.csv"
    files = [f"{path.relative_to(images)};{path.parent.name}" for path in images.glob("*/*.png")]
    table.write_text("\n".join(["file;label", *files]))
    trained = command(train_script, "--labels-csv", table, "--out", run, *quick)
    assert trained.code == 0, trained.err
    assert "auto: " in trained.out
    decoded: list[bytes] = []

    def note(data: bytes) -> Image.Image:
        decoded.append(data)
        return open_image_file(data)

    monkeypatch.setattr("training.data.decode.open_image_file", note)

    evaluated = command(evaluate_script, run)

    assert evaluated.code == 0
    held_out = json.loads((run / "splits.json").read_text())["test"]
    assert sorted(decoded) == sorted((images / name).read_bytes() for name in held_out)
    assert f"{len(held_out)} images to test, 2 labels, 28 x 28 x 1" in evaluated.out
    assert "note: these are not" not in evaluated.out
