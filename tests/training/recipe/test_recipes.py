"""Recipes: names, files, `--set`, and what is refused in which words."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from model.architecture.family import ARCHITECTURES
from training.recipe.presets import RECIPES, get_recipe
from training.recipe.recipe import Recipe, RecipeError
from training.runs.recipe_file import choose_recipe

DOCS = Path(__file__).parents[3] / "docs" / "training.md"


def test_every_recipe_stands_under_its_own_name_and_trains_a_member_of_the_family() -> None:
    for name, recipe in RECIPES.items():
        assert recipe.name == name
        assert recipe.architecture in ARCHITECTURES


def test_the_baseline_is_the_classical_recipe() -> None:
    recipe = get_recipe("baseline")

    assert (recipe.optimizer, recipe.learning_rate, recipe.batch_size) == ("adam", 1e-3, 64)
    assert (recipe.epochs, recipe.early_stopping, recipe.monitor) == (10, 5, "val_loss")
    assert (recipe.plateau_factor, recipe.plateau_patience) == (0.5, 3)
    assert recipe.min_learning_rate == 1e-6


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ("epochs=3", "epochs", 3),
        ("learning_rate=1e-2", "learning_rate", 0.01),
        ("flip=true", "flip", True),
        ("flip=0", "flip", False),
        ("optimizer=sgd", "optimizer", "sgd"),
        ("early_stopping=none", "early_stopping", None),
        ("early_stopping=2", "early_stopping", 2),
        ("stem=small", "stem", "small"),
        ("architecture=resnet18", "architecture", "resnet18"),
        ("shortcuts=none", "shortcuts", "none"),
        ("shortcuts=null", "shortcuts", None),
        ("stem=none", "stem", None),
    ],
)
def test_set_changes_one_field_and_gives_it_its_type(
    change: str, field: str, value: object
) -> None:
    recipe = get_recipe("baseline", [change])

    assert getattr(recipe, field) == value
    assert type(getattr(recipe, field)) is type(value)
    unchanged = RECIPES["baseline"].model_dump() | {field: value}
    assert recipe.model_dump() == unchanged


def test_the_last_change_of_a_field_counts() -> None:
    assert get_recipe("baseline", ["epochs=3", "epochs=4"]).epochs == 4


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ("epochs=three", "`--set epochs=three`: input should be a valid integer"),
        ("epochs=2.5", "`--set epochs=2.5`: input should be a valid integer"),
        ("epochs=0", "`--set epochs=0`: input should be greater than or equal to 1"),
        ("epochs=none", "input should be a valid integer"),
        ("learning_rate=-1", "input should be greater than 0"),
        ("learning_rate=nan", "`--set learning_rate=nan`"),
        ("weight_decay=inf", "`--set weight_decay=inf`"),
        ("label_smoothing=1", "input should be less than 1"),
        ("optimizer=lion", "input should be 'adam'"),
        ("momentum=0.8", "`momentum` has an effect only with optimizer sgd or muon, not adam"),
        ("muon_lr=0.1", "`muon_lr` has an effect only with optimizer muon, not adam"),
        (
            "warmup=0.1",
            "`warmup` has an effect only with schedule one_cycle or cosine, not plateau",
        ),
        ("flip=perhaps", "input should be a valid boolean"),
        ("speed=9", "FIELD=VALUE; there is no field `speed`. `train-model --show"),
        ("epochs", "`--set epochs` must be FIELD=VALUE"),
        ("name=mine", "`--set name=mine` must be FIELD=VALUE"),
    ],
)
def test_a_bad_change_is_refused_in_one_line_that_repeats_it(change: str, cause: str) -> None:
    with pytest.raises(RecipeError) as refused:
        get_recipe("baseline", [change])

    assert cause in str(refused.value)
    assert "\n" not in str(refused.value)


def test_another_optimiser_drops_what_only_the_one_before_used() -> None:
    recipe = get_recipe("record", ["optimizer=sgd"])

    assert RECIPES["record"].muon_lr == 0.03
    assert recipe.muon_lr == Recipe.model_fields["muon_lr"].default


def test_a_recipe_made_by_hand_refuses_a_field_that_its_schedule_does_not_use() -> None:
    with pytest.raises(
        ValidationError, match="`plateau_factor` has an effect only with schedule plateau"
    ):
        Recipe.model_validate(get_recipe("fast").model_dump() | {"plateau_factor": 0.1})


def test_a_file_is_a_recipe_and_an_old_runs_too(tmp_path: Path) -> None:
    mine = tmp_path / "mine.json"
    fields = {"epochs": 2, "batch_size": 8, "optimizer": "adam", "learning_rate": 0.001}
    mine.write_text(json.dumps(fields | {"schedule": "cosine", "shift": 1}))

    recipe = choose_recipe(str(mine), ["epochs=3"])

    assert (recipe.name, recipe.epochs, recipe.batch_size, recipe.random_shift) == ("mine", 3, 8, 1)
    mine.write_text(get_recipe("record").model_dump_json())
    assert choose_recipe(str(mine)) == get_recipe("record")


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("{", "is not valid JSON"),
        ("[]", "must contain one JSON object"),
        ('{"epochs": 1}', "`batch_size`: Field required"),
        ('{"speed": 1}', "Field required"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused_in_one_line(
    content: str, cause: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.json").write_text(content)

    with pytest.raises(RecipeError, match=cause) as refused:
        choose_recipe(str(tmp_path / "mine.json"))

    assert "\n" not in str(refused.value)


def test_an_unknown_recipe_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        RecipeError, match=r"no recipe 'slow'; the recipes are baseline, fast, default"
    ):
        get_recipe("slow")


def test_a_recipe_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        get_recipe("baseline").epochs = 1  # type: ignore[misc]


def test_a_recipe_survives_json() -> None:
    for recipe in RECIPES.values():
        assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def _default(field: FieldInfo) -> str:
    match field.default:
        case value if field.is_required():
            return "-"
        case None:
            return "none"
        case bool(value):
            return str(value).lower()
        case str(value):
            return f"`{value}`"
        case value:
            return f"{value:g}"


def test_the_docs_list_exactly_the_fields_with_their_defaults_and_meanings() -> None:
    _, _, section = DOCS.read_text(encoding="utf-8").partition("### Fields of a recipe\n")
    rows = [line for line in section.partition("\n#")[0].splitlines() if line.startswith("| `")]

    assert rows == [
        f"| `{name}` | {_default(field)} | {field.description} |"
        for name, field in Recipe.model_fields.items()
        if name != "name"
    ]
