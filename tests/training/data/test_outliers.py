"""Images worth a look: drawn by the test, found wherever they are, against all pairs by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from PIL import Image

from tests.conftest import MakeImages
from training.data.dataset import Dataset, MemorySplit
from training.data.duplicates import Place
from training.data.folder import read_image_folder
from training.data.outliers import few_images, find_outliers
from training.fit.outlier_report import outlier_lines
from training.runs.folder import RunFolder


def _scene(seed: int, size: int = 48) -> Image.Image:
    """A smooth random image: eight by eight colours, enlarged."""
    colours = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    return Image.fromarray(colours).resize((size, size), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def dataset(fashion: Dataset) -> Dataset:
    """300 scenes, 150 of them to test; some are blank, and some are other scenes again."""
    scenes = [_scene(seed) for seed in range(300)]
    scenes[7] = Image.new("RGB", (48, 48), (90, 90, 90))
    scenes[8] = Image.new("RGB", (48, 48), "white")
    scenes[8].paste(_scene(8, 12), (3, 3))
    scenes[20] = scenes[200].resize((30, 30)).resize((48, 48))  # blurred, in the other split
    scenes[30] = scenes[31]  # a copy is none
    scenes[40] = scenes[41].resize((36, 36)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    scenes[40] = scenes[40].resize((48, 48))
    scenes[50] = scenes[250].transpose(Image.Transpose.FLIP_LEFT_RIGHT)  # without any loss
    scenes[21] = scenes[22].point(lambda value: min(255, value + 5))
    pixels = torch.from_numpy(np.stack([np.asarray(scene) for scene in scenes]))
    targets = torch.arange(300) % 2
    return replace(
        fashion,
        labels=("cat", "dog"),
        train=MemorySplit(pixels[:150], targets[:150]),
        validation=MemorySplit(pixels[:0], targets[:0]),
        test=MemorySplit(pixels[150:], targets[150:]),
        files=dict.fromkeys(("train", "test"), tuple(f"{n}.png" for n in range(150))),
    )


def test_blank_images_and_near_duplicates_are_found(dataset: Dataset) -> None:
    found = find_outliers(dataset)

    assert found.blank == {
        "constant": (Place("train", 7),),
        "nearly white": (Place("train", 8),),
    }
    assert set(found.alike) == {
        (Place("train", 20), Place("test", 50)),
        (Place("train", 21), Place("train", 22)),
        (Place("train", 40), Place("train", 41)),
        (Place("train", 50), Place("test", 100)),
    }
    assert found.looked_at == 300
    assert find_outliers(dataset, most=60).looked_at == 60


def test_what_most_images_are_like_is_no_outlier(dataset: Dataset) -> None:
    white = dataset.train.images.clone()
    white[:, 6:] = 255
    split = MemorySplit(white, dataset.train.targets)

    assert not find_outliers(replace(dataset, train=split)).blank.get("nearly white")


def test_what_was_found_is_told_in_a_few_lines_and_listed(dataset: Dataset, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    counts = {"cat": {"train": 75, "test": 75}, "dog": {"train": 4, "test": 5}}

    few, constant, white, alike, everything = outlier_lines(dataset, counts, folder)

    assert "fewer than ten images of 1 labels: dog 9." in few
    assert "1 image constant: 7.png. Delete" in constant
    assert "1 image nearly white: 8.png" in white
    assert "or mirrored: 4, 2 in two splits (this makes the accuracy too good)" in alike
    assert "2 under two labels, such as 21.png ~ 22.png" in alike
    assert str(folder.outliers) in everything
    rows = folder.outliers.read_text().splitlines()
    assert rows[0] == "kind,group,split,label,file"
    assert "near-duplicate,1,train,cat,20.png" in rows
    assert len(rows) == 11


def test_a_clean_folder_leaves_no_file_and_no_line(make_images: MakeImages, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    few = {"boot": {"train": 10}}

    assert (
        list(
            outlier_lines(
                read_image_folder(make_images(labels={"boot": 3, "coat": 3})), few, folder
            )
        )
        == []
    )
    assert not folder.outliers.exists()
    assert few_images({"cat": {"train": 0, "test": 0}, "dog": {"train": 8, "test": 1}}) == ["dog 9"]
