"""The recipe `auto`: every number of a run from what is known of the images and the machine.

The tables below are the rule; docs/training-log.md has the runs that they were set by. What
comes out is an ordinary recipe that the run keeps, so that a run that is resumed or reproduced
elsewhere does not depend on the machine.
"""

from dataclasses import dataclass

from training.recipe.presets import DEFAULT, FINETUNE
from training.recipe.recipe import Recipe

AUTO = "auto"
"""Its name."""

SIZES = (224, 192, 160, 128, 96, 64, 48, 32)
"""Image sizes in pixels, the largest first."""
SMALL = 64
"""Pixels up to which images keep their size, and random crops are left out."""
CPU_SIZE_OF_MIDDLING = 48
"""Image size on a CPU for images between `SMALL` and `PHOTOGRAPH` pixels."""
PHOTOGRAPH = 160
"""Pixels from which images are taken for photographs, whose details need large inputs."""
STEPS_PER_EPOCH = 50
"""At least, where a batch of 8 allows it: fewer learn little."""
BATCH_SIZES = {"cpu": (8, 128), "gpu": (8, 512)}
FULL_RATE_BATCH = 32
"""Images a step from which the rates are those of `default`."""
EPOCHS = (12, 30)
"""At least and at most."""
IMAGE_MS = {"small": 9.0, "standard": 17.0}
"""CPU milliseconds that an image takes in a step of `mini_resnet`: at 48 pixels with the small
stem, at 224 pixels with the standard one; they grow with the area. Roughly: machines differ."""
CPU_SECONDS = 240.0
"""Of training that a run of up to `FEW_IMAGES` may take on one core; more images may take more."""
FEW_IMAGES = 2_000
ACTIVATION_BYTES = 9_000_000
"""Of an image in a step at 224 pixels; about."""


@dataclass(frozen=True)
class Facts:
    """What the rule goes by.

    Attributes:
        images: To train on; about, where a share of them is still to be held out.
        labels: Their names.
        shorter_side: Median over the images' files, in pixels.
        channels: 1 or 3.
        cores: That the process may use.
        free_bytes: Memory that is free.
        has_gpu: Whether torch sees one.
        architecture: Of the first weights; None where the network starts from random ones.
        image_size: That the first weights were trained on; None where it is not known.
    """

    images: int
    labels: tuple[str, ...]
    shorter_side: int
    channels: int
    cores: int
    free_bytes: int
    has_gpu: bool = False
    architecture: str | None = None
    image_size: int | None = None


def choose(facts: Facts) -> tuple[Recipe, tuple[str, ...]]:
    """Choose every number of a run.

    Returns:
        The recipe, and five lines that say what was chosen and why.
    """
    size, why_size = _image_size(facts)
    batch = _batch_size(facts, size)
    epochs, why_epochs = _epochs(facts, size)
    flips = not _are_characters(facts.labels)
    if facts.architecture is None:
        recipe = _from_scratch(size, batch, epochs, flips=flips)
    else:
        recipe = FINETUNE.model_copy(
            update={
                "name": AUTO,
                "architecture": facts.architecture,
                "normalize": "weights",
                "image_size": size,
                "epochs": epochs,
                "batch_size": batch,
                "flip": flips,
            }
        )
    steps = -(-facts.images // recipe.batch_size)
    start = "random weights" if facts.architecture is None else "the weights of --init"
    return recipe, (
        f"auto: image_size={size}: {why_size}",
        f"auto: batch_size={recipe.batch_size}: about {steps:,} steps an epoch of "
        f"{facts.images:,} images; learning_rate={recipe.learning_rate:g} "
        f"({recipe.optimizer}, {recipe.schedule})",
        f"auto: epochs={epochs}: {why_epochs}",
        f"auto: architecture={recipe.architecture}, from {start}, "
        f"{'on a GPU' if facts.has_gpu else f'on {facts.cores} cores'}",
        f"auto: {_describe_augmentation(recipe)}; --set FIELD=VALUE changes any of these",
    )


def _image_size(facts: Facts) -> tuple[int, str]:
    """Choose the largest size that enlarges no usual image and that the time allows."""
    usual = facts.shorter_side
    if facts.image_size is not None:
        return facts.image_size, "what the first weights were trained on"
    if usual <= SMALL:
        size = next((size for size in SIZES if size <= usual), usual)
        return size, f"the images have {usual} pixels"
    # Above `SMALL`, images are resized to 8/7 of the size and cropped.
    fitting = [size for size in SIZES if size <= SMALL or round(size * 8 / 7) <= usual]
    if facts.has_gpu or facts.architecture is not None:
        return fitting[0], f"the largest that does not enlarge images of {usual} pixels"
    if usual < PHOTOGRAPH:
        size = min(CPU_SIZE_OF_MIDDLING, fitting[0])
        return size, f"enough for images of {usual} pixels, and a fraction of the time"
    wanted = (size for size in fitting if size > SMALL and _possible_epochs(facts, size) >= 20)
    size = next(wanted, min(96, fitting[0]))
    return size, f"the largest for images of {usual} pixels that the cores have time for"


def _batch_size(facts: Facts, size: int) -> int:
    """Choose the largest power of two that leaves enough steps an epoch, and fits the memory."""
    least, most = BATCH_SIZES["gpu" if facts.has_gpu else "cpu"]
    wanted = max(1, facts.images // STEPS_PER_EPOCH)
    if not facts.has_gpu:
        wanted = min(wanted, int(facts.free_bytes / 4 / (ACTIVATION_BYTES * (size / 224) ** 2)))
    return max(least, min(most, 1 << (max(1, wanted).bit_length() - 1)))


def _possible_epochs(facts: Facts, size: int) -> int:
    """Count the epochs that the time allows on a CPU."""
    stem, made_for = ("small", 48) if size <= SMALL else ("standard", 224)
    seconds = IMAGE_MS[stem] / 1000 * (size / made_for) ** 2
    budget = CPU_SECONDS * max(1.0, facts.images / FEW_IMAGES) * max(1.0, facts.cores / 2)
    return int(budget / (seconds * facts.images))


def _epochs(facts: Facts, size: int) -> tuple[int, str]:
    least, most = EPOCHS
    if facts.architecture is not None:
        return 10, "pre-trained weights need few"
    if facts.has_gpu:
        return most, "enough to learn from scratch"
    possible = _possible_epochs(facts, size)
    if possible >= most:
        return most, "enough to learn from scratch"
    return max(least, possible), "what the cores have time for; more may be better"


def _from_scratch(size: int, batch: int, epochs: int, *, flips: bool) -> Recipe:
    """Fit the recipe `default` to the size and the batch, with lower rates for tiny batches."""
    scale = min(1.0, batch / FULL_RATE_BATCH)
    crops = size > SMALL
    return DEFAULT.model_copy(
        update={
            "name": AUTO,
            "image_size": size,
            "epochs": epochs,
            "batch_size": batch,
            "learning_rate": DEFAULT.learning_rate * scale,
            "muon_lr": DEFAULT.muon_lr * scale,
            "flip": flips,
            "random_shift": 0 if crops else max(1, size // 12),
            "rrc_min_area": 0.35 if crops else 1.0,
        }
    )


def _are_characters(labels: tuple[str, ...]) -> bool:
    """Tell whether the labels are single digits or letters, which have no mirror images."""
    return all(len(label) == 1 for label in labels)


def _describe_augmentation(recipe: Recipe) -> str:
    """Say how images are augmented, and above all whether they are mirrored."""
    if recipe.flip:
        return (
            "images are mirrored at random, which is wrong for digits, text and signs: "
            "--set flip=false"
        )
    return "images are not mirrored, since the labels are single characters: --set flip=true"
