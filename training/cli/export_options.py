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
    Path,
    typer.Option(
        metavar="FOLDER", help="The artifact: artifacts/<name>/<version>.", show_default=False
    ),
]
ArchitectureOption = Annotated[
    str | None, typer.Option(help="Network of the family; with --weights or --random.")
]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        help="Weights from elsewhere: resnet50, resnet50-v2, ... (downloaded once), or a "
        ".pth or .safetensors file.",
    ),
]
LabelsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Names of the outputs, one a line or as JSON; with --weights. Default: "
        "ImageNet's for 1,000 outputs.",
    ),
]
NewHeadOption = Annotated[
    bool,
    typer.Option(
        "--new-head", help="Use a head of random weights, for any number of labels; with --weights."
    ),
]
NormalizeOption = Annotated[
    str | None,
    typer.Option(
        help=f"Normalisation of the weights: {', '.join(NORMALIZATIONS)}, or M,M,M/S,S,S; "
        "with --weights. Default: the usual one for the architecture."
    ),
]
RandomOption = Annotated[
    bool,
    typer.Option(
        "--random", help="Use random weights, with a fixed seed, to serve without training."
    ),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace an existing artifact.")]
PrecisionOption = Annotated[
    list[str] | None,
    typer.Option(
        help="float32, float16, int8, or all; can be repeated. float32 is always included. "
        "Default: all that do not lose too much accuracy (--gate); without data only "
        "float32."
    ),
]
GateOption = Annotated[
    list[str] | None,
    typer.Option(
        "--gate",
        metavar="PRECISION=POINTS",
        help="Points of top-1 accuracy that a precision may lose on the test split. "
        "Default: int8=0.2, float16=0.05.",
    ),
]
OodImagesOption = Annotated[
    Path | None,
    typer.Option(
        "--ood-images",
        metavar="FOLDER",
        help="Images of anything else, to measure out-of-distribution detection on.",
    ),
]
NoSamplesOption = Annotated[
    bool,
    typer.Option(
        "--no-samples",
        help="Do not put images of the data into the artifact, which otherwise contains up to ten.",
    ),
]
LicenceOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Licence of the images, for the model card, such as CC-BY-4.0."
    ),
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
