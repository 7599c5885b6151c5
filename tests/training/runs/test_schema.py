"""Records of earlier versions: renamed fields keep their values, and their runs go on."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from tests.training.run_files import assert_same_run, ctrl_c_in
from training.data.dataset import Dataset
from training.fit.resume import resume
from training.fit.train import train
from training.recipe.presets import get_recipe
from training.recipe.recipe import Recipe
from training.runs.folder import RunFolder
from training.runs.reading import RECORD_KEY, read_checkpoint, read_record
from training.runs.record import CheckpointError
from training.runs.schema import RENAMED, SCHEMA_VERSION, with_present_names

SCHEMA_2 = Path(__file__).with_name("run-schema-2.json")
"""As `train-model` wrote it before its fields were renamed."""

NAMES_OF_SCHEMA_2 = {
    "muon_lr": "turn",
    "muon_momentum": "turn_momentum",
    "resolution_start": "first_scale",
    "resolution_end": "last_scale",
    "resolution_ramp": "grown_at",
    "final_lr_ratio": "floor",
    "cooldown": "finish",
    "random_erasing": "erase",
    "random_shift": "shift",
    "rrc_min_area": "crop_area",
    "backbone_lr_scale": "backbone_rate",
    "bn_momentum": "norm_momentum",
    "image_size": "size",
}


def _copy(folder: Path, **changes: Any) -> Path:
    """Put the old record into a run folder, with some fields of its recipe changed."""
    record = json.loads(SCHEMA_2.read_text())
    record["recipe"] |= changes
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def test_renamed_fields_of_an_old_record_keep_their_values(tmp_path: Path) -> None:
    old = json.loads(SCHEMA_2.read_text())["recipe"]

    record = read_record(_copy(tmp_path))

    assert record.schema_version == 2
    assert record.notes(tmp_path) == []
    record.check_recipe_is_whole(tmp_path)
    for field, value in record.recipe.model_dump().items():
        default = Recipe.model_fields[field].default  # of a field that came later
        assert value == old.get(NAMES_OF_SCHEMA_2.get(field, field), default), field
    assert record.recipe.muon_lr == 0.07  # not the default, as all that were renamed


def test_every_renamed_value_of_the_old_record_differs_from_its_default() -> None:
    """Or the test above would not see a field that was lost."""
    old = json.loads(SCHEMA_2.read_text())["recipe"]

    for field, name in NAMES_OF_SCHEMA_2.items():
        assert old[name] != Recipe.model_fields[field].default, name


def test_old_names_become_fields_of_the_recipe_and_are_none_themselves() -> None:
    assert max(RENAMED) == SCHEMA_VERSION
    for names in RENAMED.values():
        assert {new for new in names.values() if new} <= Recipe.model_fields.keys()
        assert not names.keys() & Recipe.model_fields.keys()


def test_a_renamed_field_whose_value_is_no_longer_allowed_is_named(tmp_path: Path) -> None:
    record = read_record(_copy(tmp_path, floor=7))

    assert record.notes(tmp_path)[0].endswith("ignored fields: recipe.final_lr_ratio")
    with pytest.raises(CheckpointError, match=r"trained with recipe\.final_lr_ratio"):
        record.check_recipe_is_whole(tmp_path)


def test_a_field_under_both_names_is_named(tmp_path: Path) -> None:
    record = read_record(_copy(tmp_path, muon_lr=0.5))

    assert record.recipe.muon_lr == 0.5
    assert record.notes(tmp_path)[0].endswith("ignored fields: recipe.turn")


def test_a_record_of_this_version_may_not_have_old_names(tmp_path: Path) -> None:
    record = json.loads(SCHEMA_2.read_text()) | {"schema_version": SCHEMA_VERSION}
    (tmp_path / "run.json").write_text(json.dumps(record))

    with pytest.raises(CheckpointError, match=r"`recipe\.\w+` is not a field of it"):
        read_record(tmp_path)


@pytest.mark.parametrize("content", ["5", "[1]", "{}", '{"recipe": 3}', '"recipe"'])
def test_what_is_no_record_is_left_as_it_is(content: str) -> None:
    assert with_present_names(content) == content


def _write_as_schema_2(folder: RunFolder) -> None:
    """Give a run the names that its record's fields and checkpoints had in schema 2."""
    record = json.loads(folder.record.read_text())
    recipe = {NAMES_OF_SCHEMA_2.get(name, name): value for name, value in record["recipe"].items()}
    record |= {"schema_version": 2, "recipe": recipe | {"expected": "94.83 %"}}
    folder.record.write_text(json.dumps(record))
    for path in (folder.best, folder.last):
        content = torch.load(path, weights_only=True)
        keepers = {name for name in content["callbacks"] if name.startswith("Keep")}
        assert keepers == {"KeepBest", "KeepLast", "KeepLastWithinEpoch"}
        torch.save({**content, RECORD_KEY: json.dumps(record)}, path)


def test_a_run_of_an_earlier_schema_goes_on_to_the_very_same_weights(
    small_fashion: Dataset, tmp_path: Path
) -> None:
    changes = ["muon_lr=0.05", "cooldown=0.4", "final_lr_ratio=0.3", "random_erasing=0.6"]
    recipe = get_recipe("record", ["epochs=2", "batch_size=16", "resolution_ramp=0.5", *changes])
    dataset = small_fashion.limited(64)
    with ctrl_c_in(step=5):  # the second of the second epoch's four
        stopped = train(dataset, recipe, tmp_path / "run")
    _write_as_schema_2(stopped.folder)

    resumed = resume(tmp_path / "run", dataset)

    whole = train(dataset, recipe, tmp_path / "whole")
    assert resumed.best == whole.best
    assert_same_run(resumed.folder, whole.folder)
    record, _ = read_checkpoint(resumed.folder.last)
    assert (record.schema_version, record.recipe) == (SCHEMA_VERSION, recipe)
