"""The recipes that we offer, by name, and how `--set` changes them.

docs/training-log.md has what each came to.
"""

import difflib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, get_args

from pydantic import ValidationError

from model.validation import first_fault
from training.recipe.recipe import Recipe, RecipeError, unused_fields

SMALL_IMAGES: Mapping[str, Any] = MappingProxyType(
    {
        "batch_size": 512,
        "optimizer": "muon",
        "learning_rate": 0.2,
        "weight_decay": 5e-4,
        "schedule": "one_cycle",
        "warmup": 0.1,
        "label_smoothing": 0.1,
        "flip": True,
    }
)
"""What the recipes for small images share; found in docs/training-log.md."""

BASELINE = Recipe(
    name="baseline",
    epochs=10,
    batch_size=64,
    optimizer="adam",
    learning_rate=1e-3,
    schedule="plateau",
    monitor="val_loss",
    early_stopping=5,
    precision="float32",
)
FAST = Recipe(
    name="fast",
    epochs=3,
    **SMALL_IMAGES,
    random_shift=2,
    resolution_start=0.7,
    resolution_ramp=0.6,
)
DEFAULT = Recipe(
    name="default",
    epochs=30,
    **SMALL_IMAGES,
    ema_decay=0.99,
    random_shift=2,
    random_erasing=0.3,
    resolution_start=0.7,
    resolution_ramp=0.6,
)
RECORD = Recipe(
    name="record",
    epochs=140,
    **{**SMALL_IMAGES, "batch_size": 128, "learning_rate": 0.1},
    muon_lr=0.03,
    final_lr_ratio=1 / 6,
    cooldown=0.1,
    ema_decay=0.9997,
    random_shift=3,
    random_erasing=0.25,
    mixup=0.2,
    cutmix=1.0,
    resolution_start=0.7,
    resolution_ramp=0.54,
)
CIFAR10 = Recipe(
    name="cifar10",
    architecture="resnet20",
    epochs=40,
    **SMALL_IMAGES,
    ema_decay=0.99,
    random_shift=4,
)
# With a resnet20, 100 epochs, 50 images of each of five labels: test error 23.25 %, from scratch
# 26.05 % (docs/experiments.md, Fine-tuning).
FINETUNE = Recipe(
    name="finetune",
    architecture="resnet50",
    normalize="imagenet",
    epochs=20,
    batch_size=64,
    optimizer="sgd",
    learning_rate=0.05,
    weight_decay=1e-4,
    backbone_lr_scale=0.1,
    schedule="cosine",
    warmup=0.1,
    label_smoothing=0.1,
    flip=True,
    rrc_min_area=0.5,
)
# Not measured with pre-trained weights: it starts, steps and resumes.
PHOTOS = Recipe(
    name="photos",
    architecture="resnet18",
    normalize="imagenet",
    epochs=20,
    batch_size=32,
    optimizer="adamw",
    learning_rate=1e-3,
    weight_decay=0.05,
    backbone_lr_scale=0.1,
    schedule="cosine",
    warmup=0.1,
    label_smoothing=0.1,
    flip=True,
    trivial_augment=True,
    color_jitter=0.1,
    random_erasing=0.1,
    rrc_min_area=0.35,
    rrc_from_file=True,
)
# Not measured: it starts, steps and resumes. Most ingredients are those of torchvision's second
# weights for ResNet-50.
IMAGENET = Recipe(
    name="imagenet",
    architecture="resnet50",
    epochs=600,
    batch_size=1024,
    optimizer="sgd",
    learning_rate=0.5,
    weight_decay=2e-5,
    schedule="cosine",
    warmup=5 / 600,
    label_smoothing=0.1,
    ema_decay=0.9999,
    flip=True,
    random_erasing=0.1,
    rrc_min_area=0.08,
    rrc_from_file=True,
    mixup=0.2,
    cutmix=1.0,
    resolution_start=176 / 224,
    resolution_end=176 / 224,
)

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        recipe.name: recipe
        for recipe in (BASELINE, FAST, DEFAULT, RECORD, CIFAR10, FINETUNE, PHOTOS, IMAGENET)
    }
)


def get_recipe(name: str, changes: Sequence[str] = ()) -> Recipe:
    """Get a preset and change single fields.

    Args:
        name: A key of `RECIPES`.
        changes: `field=value` each, as typed after `--set`.

    Raises:
        RecipeError: If the name or a field is unknown, or a value does not fit its field.
    """
    if name not in RECIPES:
        raise RecipeError(f"There is no recipe {name!r}; the recipes are {', '.join(RECIPES)}.")
    return change_recipe(RECIPES[name], changes)


def change_recipe(recipe: Recipe, changes: Sequence[str]) -> Recipe:
    """Change single fields.

    Where a change takes another optimiser or schedule, the fields that only the one before
    used go back to their defaults.

    Args:
        recipe: What stays otherwise.
        changes: `field=value` each, as typed after `--set`.

    Raises:
        RecipeError: If a field is unknown, a value does not fit its field, or a field is set
            that the optimiser or schedule does not use.
    """
    changed = dict(_parse_change(change) for change in changes)
    fields = recipe.model_dump() | changed
    unused = unused_fields(fields)
    for name in unused.keys() & changed.keys():
        raise RecipeError(f"`--set {name}={changed[name]}`: {unused[name]}.")
    try:
        return Recipe.model_validate({k: v for k, v in fields.items() if k not in unused})
    except ValidationError as error:
        where, seen, rule = first_fault(error)
        change = f"`--set {where}={seen}`" if where else "`--set`"
        raise RecipeError(f"{change}: {rule.lower()}.") from None


def _parse_change(change: str) -> tuple[str, str | None]:
    """Split `field=value`; `null` is no value, and so is `none` where it is not a value itself.

    Raises:
        RecipeError: If it is not of that form, or there is no such field.
    """
    field, separator, value = change.partition("=")
    fields = set(Recipe.model_fields) - {"name"}
    if not separator or field not in fields:
        near = difflib.get_close_matches(field, fields, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]}?" if near else ""
        seen = f"; there is no field `{field}`" if separator else ""
        raise RecipeError(
            f"`--set {change}` must be FIELD=VALUE{seen}.{hint} "
            "`train-model --show RECIPE` prints all fields."
        )
    is_null = value == "null" or (value == "none" and not _takes_none_as_a_value(field))
    return field, None if is_null else value


def _takes_none_as_a_value(field: str) -> bool:
    """Tell whether `none` is one of a field's own values, as it is of `shortcuts`."""
    return any("none" in get_args(kind) for kind in get_args(Recipe.model_fields[field].annotation))
