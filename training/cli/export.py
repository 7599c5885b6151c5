"""The command `export-model`."""

from dataclasses import replace
from pathlib import Path

import typer

from model.architecture.family import get_architecture
from model.architecture.spec import Architecture
from model.artifact.folder import Artifact
from model.weights.published import find_weights, published_as
from training.cli.errors import user_errors
from training.cli.export_options import (
    ArchitectureOption,
    CheckpointArgument,
    GateOption,
    LabelsOption,
    LicenceOption,
    NewHeadOption,
    NormalizeOption,
    NoSamplesOption,
    OodImagesOption,
    OutOption,
    OverwriteOption,
    PrecisionOption,
    RandomOption,
    WeightsOption,
    read_gates,
    read_precisions,
)
from training.cli.options import DataOption, LabelsCsvOption
from training.data.dataset import SPLIT_NAMES, Dataset
from training.evaluation.predict import load_network
from training.export.checkpoint import export_checkpoint
from training.export.options import Options, check_early
from training.export.precisions import GATES
from training.export.pretrained import (
    PretrainedWeights,
    export_pretrained,
    fit_to_data,
    read_pretrained,
)
from training.export.uncalibrated import export_random
from training.export.verdict import verdict
from training.runs.dataset import dataset_to_evaluate, open_dataset

UNMEASURED = (
    "note: without --data, random images set the ranges of int8 and compared the "
    "precisions; their loss of accuracy is not known"
)


def export_model(
    checkpoint: CheckpointArgument = None,
    out: OutOption = Path(),
    data: DataOption = None,
    labels_csv: LabelsCsvOption = None,
    architecture: ArchitectureOption = None,
    weights: WeightsOption = None,
    labels: LabelsOption = None,
    new_head: NewHeadOption = False,
    normalize: NormalizeOption = None,
    random: RandomOption = False,
    overwrite: OverwriteOption = False,
    precision: PrecisionOption = None,
    gates: GateOption = None,
    ood_images: OodImagesOption = None,
    licence: LicenceOption = None,
    no_samples: NoSamplesOption = False,
) -> None:
    """Export weights as an artifact that the service loads.

    Example: export-model runs/default-0 --out artifacts/fashion-mnist/1

    Example: export-model --weights resnet50-v2 --out artifacts/imagenet/1

    Example: export-model --architecture resnet50 --weights resnet50.pth --out artifacts/imagenet/1
    """
    if out == Path():
        raise typer.BadParameter(
            "say where to write the artifact, for example --out artifacts/shoes/1",
            param_hint="--out",
        )
    sources = (checkpoint is not None, random, weights is not None)
    published = published_as(weights)
    if published is not None:
        architecture = architecture or published.architecture
    if sum(sources) != 1 or (architecture is None) != (checkpoint is not None):
        raise typer.BadParameter(
            "give a CHECKPOINT, --weights NAME, or --architecture NAME with --random or with "
            "--weights FILE"
        )
    for option, is_given, needed, needs in (
        ("--labels", labels is not None, "--weights", weights),
        ("--new-head", new_head, "--weights", weights),
        ("--ood-images", ood_images is not None, "a CHECKPOINT", checkpoint),
    ):
        if is_given and needs is None:
            raise typer.BadParameter(f"needs {needed}", param_hint=option)
    has_data = data is not None or labels_csv is not None
    if new_head and labels is None and not has_data:
        raise typer.BadParameter("needs --labels, --data or --labels-csv", param_hint="--new-head")
    options = Options(
        read_precisions(precision, measured=checkpoint is not None or has_data),
        read_gates(gates),
        ood_images,
        licence,
        optional=frozenset() if precision else frozenset(GATES),
        samples=not no_samples,
    )
    with user_errors():
        check_early(out, options, overwrite=overwrite)  # the data take a while to read
        if checkpoint is not None:
            artifact = _export_run(
                checkpoint, data, out, options, overwrite=overwrite, labels_csv=labels_csv
            )
        elif weights is None:
            spec = _member(architecture or "")
            artifact = export_random(spec, out, options, overwrite=overwrite)
        else:
            spec = _member(architecture or "")
            given = read_pretrained(
                spec,
                find_weights(weights),
                labels=labels,
                normalize=normalize,
                new_head=new_head,
            )
            if published is not None:
                given = replace(given, resize=published.resize)
            dataset = _data_for(given, data, labels_csv, options)
            artifact = _export_pretrained(
                given, dataset, normalize, out, options, overwrite=overwrite
            )
    _print_export(artifact, options)


def _export_run(  # what, measured on what, where, how
    checkpoint: Path,
    data: Path | None,
    out: Path,
    options: Options,
    *,
    overwrite: bool,
    labels_csv: Path | None,
) -> Artifact:
    """Export a checkpoint of ours, measured on its run's own data."""
    trained = load_network(checkpoint)
    dataset = dataset_to_evaluate(trained.record, data, checkpoint, labels_csv=labels_csv)
    return export_checkpoint(trained, dataset, out, options, overwrite=overwrite)


def _export_pretrained(  # what, measured on what, where, how
    given: PretrainedWeights,
    dataset: Dataset | None,
    normalize: str | None,
    out: Path,
    options: Options,
    *,
    overwrite: bool,
) -> Artifact:
    """Export weights from elsewhere, and report what became of each key of their file."""
    if dataset is not None:
        given = fit_to_data(given, dataset, normalize)
    artifact, report = export_pretrained(given, out, options, dataset=dataset, overwrite=overwrite)
    for line in report.lines():
        typer.echo(line)
    if given.new_head:
        typer.echo(
            "note: because of --new-head the head has random weights, so its answers are random"
        )
    seen = artifact.manifest.preprocessing
    typer.echo(
        f"images are resized to {seen.resize}, cropped to {seen.crop}, and normalised by mean "
        f"{_figures(seen.mean)} and deviation {_figures(seen.std)}; --normalize changes the figures"
    )
    if dataset is None and len(artifact.manifest.files) > 1:
        typer.echo(UNMEASURED)
    return artifact


def _data_for(
    given: PretrainedWeights, data: Path | None, labels_csv: Path | None, options: Options
) -> Dataset | None:
    """Read the images that measure weights from elsewhere, resized as these expect it."""
    if data is None and labels_csv is None:
        return None
    splits = SPLIT_NAMES if "int8" in options.precisions else ("test",)  # int8 fits its ranges
    size, like = given.architecture.image_size, given.preprocessing
    return open_dataset(
        data, size, splits=splits, labels_csv=labels_csv, like=like, calibrate=False
    )


def _figures(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _member(name: str) -> Architecture:
    try:
        return get_architecture(name)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--architecture") from None


def _print_export(artifact: Artifact, options: Options) -> None:
    manifest = artifact.manifest
    file = manifest.files["float32"]
    measured = f", top-1 {manifest.metrics.top1:.2%}" if manifest.metrics else ""
    typer.echo(
        f"written: {artifact.folder} ({manifest.architecture.name}, {file.bytes:,} bytes, "
        f"onnxruntime within {file.max_abs_logit_error:.1e} of torch{measured})",
    )
    left_out = tuple(name for name in options.precisions if name not in manifest.files)
    for line in verdict(manifest, left_out):
        typer.echo(line)
    if manifest.calibration or len(manifest.files) > 1:
        typer.echo(f"tables:  python -m training.cli.report {artifact.folder}")
