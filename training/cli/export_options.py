"""The options of `export-model`, and what their values mean."""

import math
from pathlib import Path
from typing import Annotated

import typer

from model.artifact.manifest import Precision
from model.weights.normalization import NORMALIZATIONS
from training.export.precisions import GATES, chosen_precisions

CheckpointArgument = Annotated[
    Path | None, typer.Argument(help="A .ckpt file, or a run folder.", show_default=False)
]
OutOption = Annotated[
    Path, typer.Option(metavar="FOLDER", help="artifacts/<name>/<version>.", show_default=False)
]
ArchitectureOption = Annotated[
    str | None, typer.Option(help="With --weights or --random: which member of the family.")
]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        help="Trained elsewhere: resnet50, resnet50-v2, ... fetched once, or a .pth or "
        ".safetensors file.",
    ),
]
LabelsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="With --weights: a name for each output, one a line or as JSON; ImageNet's for 1,000.",
    ),
]
NewHeadOption = Annotated[
    bool,
    typer.Option(
        "--new-head", help="With --weights: a head of random weights, for any number of labels."
    ),
]
NormalizeOption = Annotated[
    str | None,
    typer.Option(
        help=f"With --weights: {', '.join(NORMALIZATIONS)}, or M,M,M/S,S,S; what is usual for the "
        "architecture if not said."
    ),
]
RandomOption = Annotated[
    bool, typer.Option("--random", help="Seeded random weights, to serve without training.")
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace an artifact that is there.")
]
PrecisionOption = Annotated[
    list[str] | None,
    typer.Option(
        help="float32, float16, int8, or all; may be given again; float32 is always in. Default: "
        "all that pass their gates; without data float32 alone."
    ),
]
GateOption = Annotated[
    list[str] | None,
    typer.Option(
        "--gate",
        metavar="PRECISION=POINTS",
        help="Top-1 that a precision may lose on the test split; int8=0.2, float16=0.05.",
    ),
]
OodImagesOption = Annotated[
    Path | None,
    typer.Option(
        "--ood-images",
        metavar="FOLDER",
        help="Images of anything else, to measure out-of-distribution detection.",
    ),
]
NoSamplesOption = Annotated[
    bool,
    typer.Option(
        "--no-samples",
        help="Keep images of the data out of the artifact, which otherwise holds up to ten.",
    ),
]
LicenceOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Of the images, for the model card: CC-BY-4.0."),
]


def read_precisions(names: list[str] | None, *, measured: bool) -> tuple[Precision, ...]:
    """Read the names; all if there are none and images measure what each costs.

    Raises:
        typer.BadParameter: If a name is none of a precision.
    """
    try:
        return chosen_precisions(tuple(names or (["all"] if measured else [])))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--precision") from None


def read_gates(given: list[str] | None) -> dict[Precision, float]:
    """Read PRECISION=POINTS pairs over the usual gates.

    Raises:
        typer.BadParameter: If a pair names no precision, or points below 0.
    """
    gates = dict(GATES)
    for pair in given or ():
        name, _, points = pair.partition("=")
        precision = next((known for known in gates if known == name), None)
        try:
            allowed = float(points)
        except ValueError:
            allowed = math.nan
        if precision is None or not allowed >= 0:
            raise typer.BadParameter(
                f"{pair}: must be int8=POINTS or float16=POINTS, 0 or more", param_hint="--gate"
            )
        gates[precision] = allowed
    return gates
