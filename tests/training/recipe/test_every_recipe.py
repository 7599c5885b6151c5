"""Every recipe starts, steps and goes on, on few images; its own numbers but for size."""

from pathlib import Path

import pytest

pytest.importorskip("torch")

from tests.conftest import MakeImages
from training.data.dataset import Dataset
from training.data.folder import read_image_folder
from training.fit.resume import resume
from training.fit.train import train
from training.recipe.presets import RECIPES, get_recipe
from training.runs.metrics import read_rows

SMALL = (
    "architecture=resnet20",
    "epochs=2",
    "batch_size=32",
    "learning_rate=0.01",
    "early_stopping=none",
)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_recipe_trains_and_is_taken_up_again(
    name: str, small_fashion: Dataset, tmp_path: Path
) -> None:
    dataset = small_fashion.limited(64)
    recipe = get_recipe(name, SMALL)

    first = train(dataset, recipe, tmp_path / "run")
    again = resume(tmp_path / "run", dataset, recipe=recipe)

    rows = read_rows(first.folder.metrics)
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert all(0 < float(row["train_loss"]) < 10 for row in rows)
    assert again.epochs == 2


def test_the_imagenet_recipe_takes_a_thousand_labels(
    make_images: MakeImages, tmp_path: Path
) -> None:
    labels = {f"n{number:08}": 4 for number in range(1000)}
    dataset = read_image_folder(make_images(labels=labels, image_size=16))

    run = train(
        dataset, get_recipe("imagenet", [*SMALL, "batch_size=500", "epochs=1"]), tmp_path / "run"
    )

    assert len(dataset.labels) == 1000
    counts = {
        name: split.targets.bincount(minlength=1000) for name, split in dataset.splits.items()
    }
    held = counts["validation"] + counts["calibration"]  # one of each label, in either half
    assert [int(each.min()) for each in (counts["train"], held, counts["test"])] == [1, 1, 1]
    assert sum(map(len, dataset.splits.values())) == 4000
    (row,) = read_rows(run.folder.metrics)
    assert 6 < float(row["train_loss"]) < 8  # ln 1000 is 6.9
