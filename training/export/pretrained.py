"""From weights that were trained elsewhere to an artifact, gated as our own are."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from model.architecture.spec import Architecture
from model.artifact.folder import Artifact
from model.network.resnet import build_parts
from model.weights.family import check_trained
from model.weights.file import Weights, describe_file, read_weights
from model.weights.labels import name_labels, read_labels
from model.weights.loading import fit_to_weights, load_weights, match_weights, without_head
from model.weights.normalization import Normalization, get_normalization, usual_normalization
from model.weights.report import LoadReport
from training.data.dataset import Dataset, spread
from training.errors import ExportError
from training.export.checkpoint import GATE_PICTURES, Options, refuse_early
from training.export.manifest import untrained
from training.export.onnx_graph import Servable
from training.export.random_weights import preprocessing_for, random_pictures
from training.export.uncalibrated import Subject, export_uncalibrated

RANDOM_PICTURES = 16
"""That the gate looks at where there is no data."""


@dataclass(frozen=True)
class Foreign:
    """Weights from elsewhere, and what has to be known to serve them.

    Attributes:
        architecture: Fitted to the labels and the pictures.
        weights: Of the file.
        normalization: Of the pictures they were trained on.
        labels: As many as the architecture has; None names them by their number.
        source: File and SHA-256, for the manifest.
        new_head: Whether the head was asked to be drawn at random.
    """

    architecture: Architecture
    weights: Weights
    normalization: Normalization
    labels: tuple[str, ...] | None
    source: str
    new_head: bool = False


def read_foreign(  # noqa: PLR0913  # the file, and what it does not say itself
    architecture: Architecture,
    path: Path,
    *,
    labels: Path | None,
    normalize: str | None,
    new_head: bool = False,
    tell: Callable[[str], None] = print,
) -> Foreign:
    """Read weights, and find out for which labels and pictures they were made.

    Args:
        architecture: The member of the family that they are for.
        path: A .pth or .safetensors file.
        labels: A file of names, as many as the file's head has outputs.
        normalize: A key of `NORMALIZATIONS`, or figures; None: what is usual.
        new_head: Draw the head at random, for any number of labels.
        tell: Hears where in the file the weights were found.

    Raises:
        WeightsError: If the file cannot be read, or does not fit the architecture.
        ExportError: If labels, normalisation or the file's shapes cannot be used.
    """
    weights: Weights = read_weights(path, architecture, tell)
    try:
        fitted = fit_to_weights(architecture, weights)
        names = None if labels is None else read_labels(labels)
    except ValueError as error:
        raise ExportError(" ".join(str(error).split())) from error
    weights = without_head(fitted, weights) if new_head else weights
    _, report = match_weights(fitted, weights)
    check_trained(fitted, weights, report, new_head=new_head)
    if names is not None and len(names) != fitted.num_classes:
        if not new_head:
            raise ExportError(
                f"{labels} names {len(names):,} labels, and the head in {path.name} has "
                f"{fitted.num_classes:,} outputs. Name one label for each output, in their order, "
                "or ask for a head of random weights with --new-head."
            )
        fitted = fitted.model_copy(update={"num_classes": len(names)})
    if fitted.num_classes < 2:
        raise ExportError(
            f"The head in {path.name} has one output; an artifact names one of two labels or more. "
            "Train a network with an output for each label."
        )
    chosen = normalize or usual_normalization(fitted)
    normalization = get_normalization(chosen, fitted.in_channels)
    return Foreign(fitted, weights, normalization, names, describe_file(path), new_head)


def fit_to_data(foreign: Foreign, dataset: Dataset, normalize: str | None) -> Foreign:
    """Take input channels and labels from the data that the artifact will be measured on.

    Raises:
        ExportError: If labels were named, or trained, that are not the data's.
    """
    count = foreign.architecture.num_classes
    if foreign.new_head and foreign.labels is None:
        count = len(dataset.labels)
    if len(dataset.labels) != count or foreign.labels not in (None, dataset.labels):
        raise ExportError(
            f"{dataset.name} has {len(dataset.labels)} labels ({', '.join(dataset.labels[:3])}); "
            f"the weights are for {count}. Leave --data out, or name the data's own with --labels."
        )
    channels, crop = dataset.preprocessing.channels, dataset.preprocessing.crop
    if crop != foreign.architecture.image_size:
        raise ExportError(
            f"{dataset.name} has pictures of {crop} pixels; {foreign.architecture.name} reads "
            f"{foreign.architecture.image_size}. "
            "Leave --data out, or give a folder of larger pictures."
        )
    return replace(
        foreign,
        architecture=foreign.architecture.model_copy(
            update={"in_channels": channels, "num_classes": count}
        ),
        normalization=get_normalization(
            normalize or usual_normalization(foreign.architecture), channels
        ),
        labels=dataset.labels,
    )


def export_weights(
    foreign: Foreign,
    out: Path,
    options: Options | None = None,
    *,
    dataset: Dataset | None = None,
    overwrite: bool = False,
) -> tuple[Artifact, LoadReport]:
    """Export weights that were trained elsewhere.

    There is no calibrator: the pictures that would fit it may be those that the weights
    were trained on. Without a data set the gate looks at random pictures, and the manifest
    has no figures.

    Args:
        foreign: The weights.
        out: `<name>/<version>/`.
        options: See `training.export.checkpoint.Options`.
        dataset: Its test split is measured; preprocessed as the architecture needs it.
        overwrite: Replace an artifact that is there.

    Returns:
        The artifact, and what became of each key of the file.

    Raises:
        WeightsError: If the file does not fit the architecture.
        ExportError: If `out` cannot be an artifact's, or the gate fails.
        ArtifactError: If the artifact cannot be written.
    """
    refuse_early(out, options or Options(), overwrite=overwrite)
    torch.manual_seed(0)
    architecture = foreign.architecture
    preprocessing = preprocessing_for(architecture, *foreign.normalization)
    normalize, network = build_parts(architecture, preprocessing)
    report = load_weights(network, foreign.weights)
    check_trained(architecture, foreign.weights, report, new_head=foreign.new_head)
    subject = Subject(
        Servable(normalize, network),
        preprocessing,
        foreign.labels or name_labels(architecture.num_classes),
        untrained(0, foreign.source),
    )
    pictures = dataset.test.images if dataset else random_pictures(RANDOM_PICTURES, preprocessing)
    artifact = export_uncalibrated(
        subject,
        pictures[spread(len(pictures), GATE_PICTURES)],
        out,
        options,
        dataset=dataset,
        overwrite=overwrite,
    )
    return artifact, report
