"""Every number of a training run, frozen and named.

A `Recipe` is the only source of hyper-parameters: `training.fit` holds none, and the run folder
keeps a copy. `training.recipe.presets` has the recipes that we offer.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from model.architecture.plan import ShortcutRule, StemKind


class RecipeError(ValueError):
    """A recipe's name or a changed value is not one that training understands."""


USED_WITH: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        "momentum": ("optimizer", ("sgd", "muon")),
        "muon_lr": ("optimizer", ("muon",)),
        "muon_momentum": ("optimizer", ("muon",)),
        "warmup": ("schedule", ("one_cycle", "cosine")),
        "final_lr_ratio": ("schedule", ("one_cycle", "cosine")),
        "plateau_factor": ("schedule", ("plateau",)),
        "plateau_patience": ("schedule", ("plateau",)),
        "min_learning_rate": ("schedule", ("plateau",)),
    }
)
"""Fields that count only with some values of another field."""


def unused_fields(fields: Mapping[str, Any]) -> dict[str, str]:
    """Name the fields of a recipe that its optimiser or schedule does not use.

    Args:
        fields: All or some of a recipe's.

    Returns:
        The field's name, and the rule that it breaks.
    """
    return {
        name: (
            f"`{name}` has an effect only with {other} {' or '.join(values)}, not {fields[other]}"
        )
        for name, (other, values) in USED_WITH.items()
        if name in fields and other in fields and fields[other] not in values
    }


class Recipe(BaseModel):
    """Hyper-parameters of one training run.

    A field that is renamed here gets a line in `training.runs.schema`.

    Raises:
        ValidationError: Also if a field has a value of its own, but the recipe's optimiser or
            schedule does not use it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(description="Name of the preset that it started from.")
    architecture: str = Field(
        "mini_resnet", description="A network of the family (docs/family.md)."
    )
    stem: StemKind | None = Field(
        None,
        description="Kind of the first layers (docs/family.md); none: chosen by the image size.",
    )
    shortcuts: ShortcutRule | None = Field(
        None, description="Kind of shortcut (docs/family.md); null: the architecture's."
    )

    image_size: int | None = Field(
        None,
        ge=8,
        description="Height and width of the input in pixels; none: chosen from the images.",
    )
    normalize: Literal["data", "imagenet", "weights"] = Field(
        "data",
        description="Mean and deviation: those of the `data`, of `imagenet`, or those that the "
        "first `weights` were trained with.",
    )

    epochs: int = Field(
        ge=1, description="Passes over the training images, at most; early stopping may end sooner."
    )
    batch_size: int = Field(ge=1, description="Images in a step, over all processes.")
    optimizer: Literal["adam", "adamw", "sgd", "muon"] = Field(
        description="`adam`, `adamw`, `sgd`, or `muon` for convolutions and SGD for the rest."
    )
    learning_rate: float = Field(
        gt=0, description="Learning rate; the peak, if the schedule has one."
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="Nesterov momentum; `sgd` and `muon`.")
    muon_lr: float = Field(
        0.1, gt=0, description="Peak step of a convolution, as a share of its norm; Muon only."
    )
    muon_momentum: float = Field(
        0.6, ge=0, lt=1, description="Momentum of convolutions; Muon only."
    )
    weight_decay: float = Field(
        0.0, ge=0, description="Weight decay; not applied to norms and biases."
    )
    backbone_lr_scale: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Learning rate of all layers but the head, as a share of the head's; 0 "
        "freezes them.",
    )
    schedule: Literal["plateau", "one_cycle", "cosine"] = Field(
        description="Schedule of the learning rate: `plateau`, `one_cycle` or `cosine`."
    )
    warmup: float = Field(
        0.2, ge=0, le=1, description="Share of the schedule's steps before the peak."
    )
    final_lr_ratio: float = Field(
        0.0, ge=0, le=1, description="Lower bound of the rate as a share of the peak."
    )
    cooldown: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the steps at the end in which the rate falls to zero and nothing is "
        "mixed.",
    )
    plateau_factor: float = Field(
        0.5, gt=0, lt=1, description="Factor of the rate at a plateau; `plateau` only."
    )
    plateau_patience: int = Field(
        3, ge=0, description="Epochs without progress that count as a plateau; `plateau` only."
    )
    min_learning_rate: float = Field(
        1e-6, ge=0, description="Lower bound of the rate; `plateau` only."
    )

    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Share of the target that is spread over all labels."
    )
    class_weights: bool = Field(False, description="Rare labels count as much as common ones.")
    ema_decay: float = Field(
        0.0, ge=0, lt=1, description="Decay of the weights' average, per step; 0: no average."
    )
    ema_epochs: float = Field(
        0.0, ge=0, description="Epochs that the average covers, instead of `ema_decay`."
    )
    accumulate_steps: int = Field(
        1, ge=1, description="Parts of a batch that are computed one after another, to save memory."
    )
    clip_norm: float = Field(
        0.0, ge=0, description="Largest norm of all gradients together; 0: no limit."
    )
    compile: bool = Field(
        False, description="Use `torch.compile`: minutes at the start, faster steps."
    )
    bn_momentum: float = Field(
        0.1, gt=0, le=1, description="Momentum of the batch norms' statistics."
    )
    monitor: Literal["val_loss", "val_acc"] = Field(
        "val_acc",
        description="`val_acc` or `val_loss`: chooses the best checkpoint, and decides early "
        "stopping.",
    )
    early_stopping: int | None = Field(
        None, ge=1, description="Epochs without progress that end the run; none: never."
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "bfloat16",
        description="`bfloat16` or `float32`; float32 if the processor has no bfloat16.",
    )

    flip: bool = Field(False, description="Mirror half of the images left to right.")
    trivial_augment: bool = Field(
        False, description="One random operation on colour or geometry for each image."
    )
    color_jitter: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Largest change of brightness, contrast and saturation, as a share.",
    )
    random_shift: int = Field(
        0, ge=0, description="Largest shift in pixels, in each direction; the border is mirrored."
    )
    random_erasing: float = Field(
        0.0, ge=0, le=1, description="Share of images in which a box is replaced by noise."
    )
    rrc_min_area: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Smallest area of a random resized crop, as a share; 1: no crop.",
    )
    rrc_from_file: bool = Field(
        False,
        description="Cut crops from the whole file, decoded in each epoch, instead of the stored "
        "centre.",
    )
    mixup: float = Field(0.0, ge=0, description="Alpha of mixup; 0: none.")
    cutmix: float = Field(0.0, ge=0, description="Alpha of CutMix; 0: none.")
    resolution_start: float = Field(
        1.0, gt=0, le=1, description="Image size at the first step, as a share of the full size."
    )
    resolution_end: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Image size after `resolution_ramp`, as a share of the full size.",
    )
    resolution_ramp: float = Field(
        1.0, gt=0, le=1, description="Share of the steps over which the size changes."
    )

    @model_validator(mode="after")
    def _uses_its_fields(self) -> Self:
        for name, rule in unused_fields(dict(self)).items():
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(rule)
        return self


def compare_recipes(was: Recipe, is_now: Recipe) -> Iterator[tuple[str, object, object]]:
    """Name each hyper-parameter, with its value in both recipes."""
    for name in Recipe.model_fields:
        yield name, getattr(was, name), getattr(is_now, name)
