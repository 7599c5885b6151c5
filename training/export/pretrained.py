"""From weights that were trained elsewhere to an artifact, with the gates of our own."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from model.architecture.spec import Architecture
from model.artifact.folder import Artifact
from model.network.resnet import build_parts
from model.preprocessing import Preprocessing
from model.weights.family import check_trained
from model.weights.file import Weights, describe_file, read_weights
from model.weights.labels import name_labels, read_labels
from model.weights.loading import fit_to_weights, load_weights, match_weights, without_head
from model.weights.normalization import Normalization, get_normalization, usual_normalization
from model.weights.report import LoadReport
from training.data.dataset import Dataset, sample
from training.errors import ExportError
from training.export.onnx_graph import Servable
from training.export.options import GATE_IMAGES, Options, check_early
from training.export.provenance import untrained_provenance
from training.export.random_weights import preprocessing_for, random_images
from training.export.uncalibrated import UncalibratedModel, export_uncalibrated

log = logging.getLogger(__name__)
RANDOM_IMAGES = 16
"""For the gate, if there are no data."""


@dataclass(frozen=True)
class PretrainedWeights:
    """Weights from elsewhere, and what is needed to serve them.

    Attributes:
        architecture: With the labels and channels of the weights, or of the data.
        weights: The tensors of the file.
        normalization: Of the images they were trained on.
        labels: As many as the architecture has; None: they are numbered.
        source: File and SHA-256, for the manifest.
        new_head: Whether the classifier gets random weights.
        resize: Pixels of the shorter side before the crop; None: what is usual.
    """

    architecture: Architecture
    weights: Weights
    normalization: Normalization
    labels: tuple[str, ...] | None
    source: str
    new_head: bool = False
    resize: int | None = None

    @property
    def preprocessing(self) -> Preprocessing:
        """What the network expects of an image."""
        usual = preprocessing_for(self.architecture, *self.normalization)
        return usual.model_copy(update={"resize": self.resize or usual.resize})


def read_pretrained(  # the file, and what it does not say itself
    architecture: Architecture,
    path: Path,
    *,
    labels: Path | None,
    normalize: str | None,
    new_head: bool = False,
) -> PretrainedWeights:
    """Read weights, and find out which labels and images they were trained for.

    Args:
        architecture: The member of the family.
        path: A .pth or .safetensors file.
        labels: A file of names, as many as the classifier has outputs.
        normalize: A key of `NORMALIZATIONS`, or figures; None: the architecture's usual one.
        new_head: Draw the classifier at random, for any number of labels.

    Raises:
        WeightsError: If the file cannot be read, or does not fit the architecture.
        ExportError: If labels, normalisation or the file's shapes cannot be used.
    """
    weights: Weights = read_weights(path, architecture, log.info)
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
                f"{labels} names {len(names):,} labels, but the head in {path.name} "
                f"has {fitted.num_classes:,} outputs. Name one label for each output, "
                "in their order, or use --new-head for a head of random weights."
            )
        fitted = fitted.model_copy(update={"num_classes": len(names)})
    if fitted.num_classes < 2:
        raise ExportError(
            f"The head in {path.name} has one output, but an artifact needs two or "
            "more labels. Train a network with one output per label."
        )
    chosen = normalize or usual_normalization(fitted)
    normalization = get_normalization(chosen, fitted.in_channels)
    return PretrainedWeights(fitted, weights, normalization, names, describe_file(path), new_head)


def fit_to_data(
    pretrained: PretrainedWeights, dataset: Dataset, normalize: str | None
) -> PretrainedWeights:
    """Take the channels and labels of the data that will measure the artifact.

    Raises:
        ExportError: If the weights have other labels or another image size.
    """
    count = pretrained.architecture.num_classes
    if pretrained.new_head and pretrained.labels is None:
        count = len(dataset.labels)
    if len(dataset.labels) != count or pretrained.labels not in (None, dataset.labels):
        raise ExportError(
            f"{dataset.name} has {len(dataset.labels)} labels "
            f"({', '.join(dataset.labels[:3])}), but the weights are for {count}. "
            "Leave --data out, or name the labels of the weights with --labels."
        )
    channels, crop = dataset.preprocessing.channels, dataset.preprocessing.crop
    if crop != pretrained.architecture.image_size:
        raise ExportError(
            f"{dataset.name} has images of {crop} pixels, but "
            f"{pretrained.architecture.name} reads "
            f"{pretrained.architecture.image_size}. Leave --data out, or use a folder "
            "of larger images."
        )
    return replace(
        pretrained,
        architecture=pretrained.architecture.model_copy(
            update={"in_channels": channels, "num_classes": count}
        ),
        normalization=get_normalization(
            normalize or usual_normalization(pretrained.architecture), channels
        ),
        labels=dataset.labels,
    )


def export_pretrained(
    pretrained: PretrainedWeights,
    out: Path,
    options: Options | None = None,
    *,
    dataset: Dataset | None = None,
    overwrite: bool = False,
) -> tuple[Artifact, LoadReport]:
    """Export weights that were trained elsewhere.

    There is no calibrator: the images that would fit it may be among those that the weights were
    trained on. Without a data set the gate uses random images, and the manifest has no figures.

    Args:
        pretrained: The weights.
        out: `<name>/<version>/`.
        options: See `training.export.options.Options`.
        dataset: Its test split is measured; preprocessed for the architecture.
        overwrite: Replace an artifact that is there.

    Returns:
        The artifact, and what became of each key of the file.

    Raises:
        WeightsError: If the file does not fit the architecture.
        ExportError: If `out` cannot be an artifact's, or the gate fails.
        ArtifactError: If the artifact cannot be written.
    """
    check_early(out, options or Options(), overwrite=overwrite)
    torch.manual_seed(0)
    architecture = pretrained.architecture
    preprocessing = pretrained.preprocessing
    normalize, network = build_parts(architecture, preprocessing)
    report = load_weights(network, pretrained.weights)
    check_trained(architecture, pretrained.weights, report, new_head=pretrained.new_head)
    model = UncalibratedModel(
        Servable(normalize, network),
        preprocessing,
        pretrained.labels or name_labels(architecture.num_classes),
        untrained_provenance(0, pretrained.source),
    )
    images = (
        sample(dataset.splits[dataset.measuring], GATE_IMAGES).images
        if dataset
        else random_images(RANDOM_IMAGES, preprocessing)
    )
    artifact = export_uncalibrated(
        model,
        images,
        out,
        options,
        dataset=dataset,
        overwrite=overwrite,
    )
    return artifact, report
