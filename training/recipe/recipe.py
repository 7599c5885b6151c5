"""Every number of a training run, frozen and named.

A `Recipe` is the only source of hyper-parameters: `training.fit` holds none, and the run folder
keeps a copy. `--set` changes single fields, with type checks.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model.architecture.plan import ShortcutRule, StemKind
from model.validation import first_fault


class RecipeError(ValueError):
    """A recipe's name or a changed value is not one that training understands."""


class Recipe(BaseModel):
    """Hyper-parameters of one training run."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    expected: str = Field(description="Test accuracy and cost, as measured; where and when.")
    architecture: str = "mini_resnet"
    stem: StemKind | None = Field(
        None, description="None: the architecture's own, for small pictures a small one."
    )
    shortcuts: ShortcutRule | None = Field(None, description="None: the architecture's own.")

    size: int | None = Field(
        None, ge=8, description="Side of the pictures in pixels; None: what they usually have."
    )
    normalize: Literal["data", "imagenet"] = Field(
        "data", description="Whose mean and standard deviation; ImageNet's for weights from there."
    )

    epochs: int = Field(ge=1, description="At most, where early stopping is on.")
    batch_size: int = Field(ge=1, description="Pictures a step, over all processes.")
    optimizer: Literal["adam", "sgd", "muon"]
    learning_rate: float = Field(gt=0, description="The peak, where the schedule has one.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Nesterov's; not Adam's.")
    turn: float = Field(
        0.1, gt=0, description="Peak share of its norm that a convolution moves; Muon alone."
    )
    turn_momentum: float = Field(0.6, ge=0, lt=1, description="Of convolutions; Muon alone.")
    weight_decay: float = Field(0.0, ge=0, description="Not on norms and biases.")
    backbone_rate: float = Field(
        1.0, ge=0, le=1, description="Of all but the head, as a share; 0 freezes it."
    )
    schedule: Literal["plateau", "one_cycle", "cosine"]
    warmup: float = Field(0.2, ge=0, le=1, description="Share of a cycle up to the peak.")
    floor: float = Field(
        0.0, ge=0, le=1, description="Least share of the peak; a cycle stays there to its end."
    )
    finish: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the steps, after the cycle: from the floor to nothing, unmixed.",
    )
    plateau_factor: float = Field(0.5, gt=0, lt=1)
    plateau_patience: int = Field(3, ge=0, description="Epochs without progress.")
    min_learning_rate: float = Field(1e-6, ge=0)

    label_smoothing: float = Field(0.0, ge=0, lt=1)
    class_weights: bool = Field(False, description="Rare labels count as much as common ones.")
    ema_decay: float = Field(0.0, ge=0, lt=1, description="Per step; 0 keeps the plain weights.")
    norm_momentum: float = Field(0.1, gt=0, le=1, description="Of the batch norms' statistics.")
    monitor: Literal["val_loss", "val_acc"] = Field(
        "val_acc", description="What the best checkpoint and early stopping go by."
    )
    early_stopping: int | None = Field(None, ge=1, description="Epochs without progress.")
    precision: Literal["float32", "bfloat16"] = Field(
        "bfloat16", description="bfloat16 falls back to float32 where the processor lacks it."
    )

    flip: bool = False
    shift: int = Field(0, ge=0, description="Pixels, each way; the border is mirrored.")
    erase: float = Field(0.0, ge=0, le=1, description="Share of pictures with an erased box.")
    crop_area: float = Field(
        1.0, gt=0, le=1, description="Least share of the picture that a random crop keeps."
    )
    mixup: float = Field(0.0, ge=0, description="Alpha of the share of two pictures' blend.")
    cutmix: float = Field(0.0, ge=0, description="Alpha of the share of two pictures' collage.")
    first_scale: float = Field(
        1.0, gt=0, le=1, description="Side of the pictures at the first step, as a share."
    )
    last_scale: float = Field(1.0, gt=0, le=1, description="The same from `grown_at` on.")
    grown_at: float = Field(1.0, gt=0, le=1, description="Share of the steps.")


def compared(was: Recipe, is_now: Recipe) -> Iterator[tuple[str, object, object]]:
    """Name each hyper-parameter, with its value in both; what other runs came to is none."""
    for name in Recipe.model_fields:
        if name != "expected":
            yield name, getattr(was, name), getattr(is_now, name)


SPRINT: Mapping[str, Any] = MappingProxyType(
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
"""What the recipes for small pictures share; found in docs/training-log.md."""

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        recipe.name: recipe
        for recipe in (
            Recipe(
                name="baseline",
                expected="92.08 % of Fashion-MNIST's test split, 2,271 CPU s.",
                epochs=10,
                batch_size=64,
                optimizer="adam",
                learning_rate=1e-3,
                schedule="plateau",
                monitor="val_loss",
                early_stopping=5,
                precision="float32",
            ),
            Recipe(
                name="fast",
                expected="92.69 % of Fashion-MNIST's test split (three seeds), 279 CPU s.",
                epochs=3,
                **SPRINT,
                shift=2,
                first_scale=0.7,
                grown_at=0.6,
            ),
            Recipe(
                name="default",
                expected="94.83 % of Fashion-MNIST's test split, 2,842 CPU s.",
                epochs=30,
                **SPRINT,
                ema_decay=0.99,
                shift=2,
                erase=0.3,
                first_scale=0.7,
                grown_at=0.6,
            ),
            Recipe(
                name="record",
                expected="95.49 % of Fashion-MNIST's test split, 15,366 CPU s.",
                epochs=140,
                **{**SPRINT, "batch_size": 128, "learning_rate": 0.1},
                turn=0.03,
                floor=1 / 6,
                finish=0.1,
                ema_decay=0.9997,
                shift=3,
                erase=0.25,
                mixup=0.2,
                cutmix=1.0,
                first_scale=0.7,
                grown_at=0.54,
            ),
            Recipe(
                name="cifar10",
                expected="87.69 % of the test split of CIFAR-10 as strongly compressed JPEGs, "
                "3,054 CPU s.",
                architecture="resnet20",
                epochs=40,
                **SPRINT,
                ema_decay=0.99,
                shift=4,
            ),
            Recipe(
                name="finetune",
                expected="with a resnet20, 100 epochs, 50 pictures of each of five labels: test "
                "error 23.25 %, from scratch 26.05 % (docs/experiments.md, Fine-tuning).",
                architecture="resnet50",
                normalize="imagenet",
                epochs=20,
                batch_size=64,
                optimizer="sgd",
                learning_rate=0.05,
                weight_decay=1e-4,
                backbone_rate=0.1,
                schedule="cosine",
                warmup=0.1,
                label_smoothing=0.1,
                flip=True,
                crop_area=0.5,
            ),
            Recipe(
                name="imagenet",
                expected="not measured: it starts, steps and resumes; no machine here is large "
                "enough for more. Most ingredients are those of torchvision's second weights.",
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
                erase=0.1,
                crop_area=0.08,
                mixup=0.2,
                cutmix=1.0,
                first_scale=176 / 224,
                last_scale=176 / 224,
            ),
        )
    }
)


def get_recipe(name: str, changes: Sequence[str] = ()) -> Recipe:
    """Look a recipe up and change single fields.

    Args:
        name: A key of `RECIPES`.
        changes: `field=value` each, as typed after `--set`.

    Raises:
        RecipeError: If the name or a field is unknown, or a value does not fit its field.
    """
    if name not in RECIPES:
        raise RecipeError(f"There is no recipe {name!r}; there are {', '.join(RECIPES)}.")
    fields: dict[str, object] = RECIPES[name].model_dump()
    for change in changes:
        field, separator, value = change.partition("=")
        if not separator or field not in fields or field in ("name", "expected"):
            raise RecipeError(
                f"`--set {change}` must be FIELD=VALUE, with FIELD one of "
                f"{', '.join(sorted(set(fields) - {'name', 'expected'}))}."
            )
        fields[field] = None if value == "none" else value
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        where, seen, rule = first_fault(error)
        change = f"`--set {where}={seen}`" if where else "`--set`"
        raise RecipeError(f"{change}: {rule.lower()}.") from None
