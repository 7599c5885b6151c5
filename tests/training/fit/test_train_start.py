"""Before a run's first step: folders and recipes it takes or refuses, the network that fits."""

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

from tests.training.run_files import figures_of
from training.data.dataset import Dataset
from training.errors import TrainingError
from training.fit.loop import Outcome
from training.fit.setup import fit_architecture, fit_dataset
from training.fit.train import train
from training.recipe.presets import get_recipe
from training.recipe.recipe import Recipe


def test_a_folder_that_holds_another_run_is_refused(
    trained: Outcome, small_fashion: Dataset, small_recipe: Recipe
) -> None:
    before = trained.folder.last.read_bytes()

    with pytest.raises(TrainingError, match="already contains a run; add --resume"):
        train(small_fashion, small_recipe, trained.folder.path)

    assert trained.folder.last.read_bytes() == before


def test_a_place_that_is_no_folder_is_refused_and_left_alone(
    small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path
) -> None:
    (tmp_path / "notes").write_text("mine")

    with pytest.raises(TrainingError, match="notes is not a folder; name another one with --out"):
        train(small_fashion, small_recipe, tmp_path / "notes")

    assert (tmp_path / "notes").read_text() == "mine"


def test_a_folder_that_kept_only_its_figures_is_refused(
    trained: Outcome, small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path
) -> None:
    (tmp_path / "metrics.csv").write_bytes(trained.folder.metrics.read_bytes())

    with pytest.raises(TrainingError, match="already contains a run; delete it, or name another"):
        train(small_fashion, small_recipe, tmp_path)


def test_a_folder_whose_run_died_in_its_first_epoch_can_be_used_again(
    trained: Outcome, small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path
) -> None:
    header = trained.folder.metrics.read_text().splitlines()[0]
    (tmp_path / "metrics.csv").write_text(header + "\n")
    recipe = small_recipe.model_copy(update={"epochs": 1})

    outcome = train(small_fashion.limited(60), recipe, tmp_path)

    assert len(figures_of(outcome.folder)) == 1


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"architecture": "resnet19"}, "Did you mean 'resnet18'"),
        (
            {"random_shift": 14, "resolution_start": 1},
            r"`random_shift` \(=14\) must be under the image size \(=14",
        ),
        (
            {"random_shift": 8},
            r"`random_shift` \(=8\) must be under the run's smallest image size \(=8\)",
        ),
        (
            {"random_shift": 8, "resolution_start": 1, "resolution_end": 0.5},
            r"run's smallest image size \(=8\)",
        ),
    ],
)
def test_a_recipe_that_does_not_fit_the_images_is_refused_before_anything_is_written(
    small_fashion: Dataset,
    small_recipe: Recipe,
    tmp_path: Path,
    changes: dict[str, object],
    cause: str,
) -> None:
    with pytest.raises(TrainingError, match=cause) as refused:
        train(small_fashion, small_recipe.model_copy(update=changes), tmp_path / "run")

    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("image_size", [28, 16])
def test_images_of_another_size_than_the_recipes_are_refused_before_anything_is_written(
    small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path, image_size: int
) -> None:
    recipe = small_recipe.model_copy(update={"image_size": image_size})

    with pytest.raises(
        TrainingError, match=f"read at 14 pixels, but .* is {image_size}"
    ) as refused:
        train(small_fashion, recipe, tmp_path / "run")

    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_images_of_the_recipes_size_are_taken(small_fashion: Dataset) -> None:
    recipe = get_recipe("default", ["image_size=14"])

    assert fit_dataset(small_fashion, recipe) is small_fashion


def test_a_shift_is_compared_with_the_whole_image_where_images_do_not_grow(
    small_fashion: Dataset,
) -> None:
    recipe = get_recipe("default", ["architecture=residual_mlp", "random_shift=13"])

    assert fit_architecture(recipe, small_fashion).stem == "flatten"


@pytest.mark.parametrize("name", ["resnet18", "mini_resnet"])
@pytest.mark.parametrize(
    ("crop", "stem", "expected"),
    [(64, None, "small"), (65, None, "standard"), (28, "standard", "standard")],
)
def test_the_stem_follows_the_images_size_unless_the_recipe_says(
    fashion: Dataset, name: str, crop: int, stem: str | None, expected: str
) -> None:
    spec = fashion.preprocessing.model_copy(update={"crop": crop, "resize": crop})
    dataset = replace(fashion, preprocessing=spec)
    recipe = get_recipe("default", [f"architecture={name}", f"stem={stem or 'none'}"])

    architecture = fit_architecture(recipe, dataset)

    assert architecture.stem == expected
    assert (architecture.in_channels, architecture.num_classes) == (1, 10)


def test_a_recipe_may_name_another_kind_of_shortcut(fashion: Dataset) -> None:
    recipe = get_recipe("default", ["architecture=resnet20", "shortcuts=concat"])

    assert fit_architecture(recipe, fashion).shortcuts == "concat"
