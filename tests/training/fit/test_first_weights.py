"""Weights from elsewhere through `train-model --init`: what a run begins with."""

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from model.network.resnet import ResNet
from model.weights.file import read_weights
from tests.conftest import Command, MakeImages
from training.cli.main import train_script
from training.data.dataset import Dataset
from training.data.folder import read_image_folder
from training.fit.first_weights import FirstWeights
from training.fit.loop import Outcome
from training.fit.setup import notes_on_leakage
from training.runs.reading import RECORD_KEY, read_checkpoint


def test_a_run_begins_with_the_weights_it_is_given(
    command: Command, resnet20: Path, make_images: MakeImages, tmp_path: Path
) -> None:
    data, out = make_images(), tmp_path / "run"
    changes = ("epochs=1", "batch_size=8", "ema_decay=0")
    still = ("learning_rate=1e-9", "muon_lr=1e-9")
    options = [part for change in (*changes, *still) for part in ("--set", change)]

    finished = command(
        train_script,
        "--data",
        data,
        "--out",
        out,
        "--init",
        resnet20,
        "--recipe",
        "default",
        *options,
    )

    assert finished.code == 0, finished.err
    assert "conv1.weight: 3 input channels summed to one" in finished.out
    assert "fc.weight: the file has (10, 64), the network (2, 64)" in finished.out
    record, weights = read_checkpoint(out)
    expected = read_weights(resnet20)["module.layer2.1.conv1.weight"]
    assert torch.allclose(weights["layer2.1.conv1.weight"], expected, atol=1e-5)
    assert record.recipe.architecture == "resnet20"
    listing = out / "first-weights.txt"
    assert f"; details: {listing}" in finished.out
    assert "new head, at its initial value: fc.weight: the file has" in listing.read_text()
    assert str(record.weights).startswith("resnet20.th sha256:")


def test_weights_to_begin_with_bring_their_stem_and_such_a_run_goes_on(
    command: Command, resnet18: Path, make_images: MakeImages, tmp_path: Path
) -> None:
    arguments = ("--data", make_images(), "--out", tmp_path / "run", "--set", "batch_size=8")
    changes = ("--set", "architecture=resnet18", "--set", "epochs=1")

    begun = command(train_script, *arguments, *changes, "--init", resnet18)
    resumed = command(train_script, *arguments, *changes, "--resume")

    assert begun.code == 0, begun.err
    assert "conv1.weight: 3 input channels summed to one" in begun.out
    record, _ = read_checkpoint(tmp_path / "run")
    assert record.architecture.stem == "standard"
    assert record.preprocessing.crop == 28
    assert resumed.code == 0, resumed.err


def test_a_recipe_overrules_the_stem_of_the_weights(
    command: Command, resnet18: Path, make_images: MakeImages, tmp_path: Path
) -> None:
    changes = ("architecture=resnet18", "stem=small", "epochs=1", "batch_size=8")
    options = [part for change in changes for part in ("--set", change)]

    finished = command(
        train_script,
        "--data",
        make_images(image_size=16),
        "--out",
        tmp_path / "run",
        "--init",
        resnet18,
        *options,
    )

    assert finished.code == 0, finished.err
    assert "conv1.weight: the file has (64, 3, 7, 7), the network (64, 1, 3, 3)" in finished.out

    frozen = (*options, "--set", "backbone_lr_scale=0", "--out", tmp_path / "frozen")
    refused = command(train_script, "--data", tmp_path / "images", "--init", resnet18, *frozen)

    assert refused.code == 1
    assert "would freeze 1 tensors with random weights: conv1.weight. Use" in refused.err


def test_a_head_alone_on_random_weights_is_refused(command: Command, tmp_path: Path) -> None:
    changes = ("--set", "backbone_lr_scale=0", "--out", tmp_path / "run")
    refused = command(train_script, "--recipe", "fast", *changes)

    assert refused.code == 1
    assert "would freeze a backbone of random weights. Name first weights" in refused.err
    assert not (tmp_path / "run").exists()


def test_weights_that_may_know_what_is_held_out_now_are_warned_of(
    command: Command, make_images: MakeImages, tmp_path: Path
) -> None:
    data, first = make_images(labels={"boot": 20, "coat": 20}), tmp_path / "first"
    quick = ("--data", data, "--set", "epochs=1", "--set", "batch_size=8")
    assert command(train_script, *quick, "--out", first).code == 0
    init = ("--init", first / "checkpoints" / "best.ckpt")

    same = command(train_script, *quick, *init, "--out", tmp_path / "same")
    assert same.code == 0
    assert "held out now" not in same.out
    (line,) = [line for line in same.out.splitlines() if line.startswith("first weights: ")]
    assert re.fullmatch(r"first weights: (\d+) of \1 tensors loaded; details: .*", line)
    specs = [read_checkpoint(run)[0].preprocessing for run in (first, tmp_path / "same")]
    assert specs[0] == specs[1]

    splits = first / "splits.json"  # as an earlier version may have divided them
    held = json.loads(splits.read_text())
    splits.write_text(json.dumps({**held, "train": held["test"]}))
    (note,) = notes_on_leakage(first / "checkpoints" / "best.ckpt", read_image_folder(data))

    seen = f"{len(held['test'])} images of {data} that are held out now"
    assert f"best.ckpt was trained on {seen}" in note


def test_weights_of_another_version_are_warned_of(
    trained: Outcome, small_fashion: Dataset, resnet20: Path, tmp_path: Path
) -> None:
    content = torch.load(trained.folder.best, weights_only=True)
    record = json.loads(content[RECORD_KEY])
    record["recipe"]["mutual"] = 0.5
    torch.save({**content, RECORD_KEY: json.dumps(record)}, tmp_path / "old.ckpt")

    (note,) = notes_on_leakage(tmp_path / "old.ckpt", small_fashion)

    assert note.startswith(f"note: the training images of {tmp_path / 'old.ckpt'} are not known")
    assert "`recipe.mutual`" in note
    assert "\n" not in note
    assert notes_on_leakage(resnet20, small_fashion) == []


def test_resume_and_init_exclude_each_other(command: Command, resnet20: Path) -> None:
    finished = command(train_script, "--init", resnet20, "--resume")

    assert finished.code == 2
    assert "--init" in finished.err


def test_labels_that_the_weights_know_keep_their_rows_of_the_head(trained: Outcome) -> None:
    start = FirstWeights.read(trained.folder.best)
    known = read_checkpoint(trained.folder.best)[0]
    labels = (known.labels[7], "hat", known.labels[2])
    network = ResNet(known.architecture.model_copy(update={"num_classes": 3}))
    drawn = network.fc.bias[1].item()

    tensors, note = start.for_labels(labels, network)

    assert note == "head: 2 known labels keep their weights, 1 start at random (hat)"
    for name in ("fc.weight", "fc.bias"):
        assert torch.equal(tensors[name][[0, 2]], start.tensors[name][[7, 2]])
    assert tensors["fc.bias"][1] == drawn
    assert start.for_labels(known.labels, network) == (start.tensors, "")
