"""The commands `train-model`, `evaluate-model` and `export-model`.

Options say where and which seed; the recipe says what. Failures are one line on stderr
and exit 1, bad usage exits 2.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from model.architecture import Architecture, get_architecture
from model.artifact import Artifact, ArtifactError
from model.cli import CommandError, script
from model.manifest import Precision
from model.weights import WeightsError
from training.datasets.dataset import Dataset, DatasetError
from training.datasets.source import read_dataset
from training.evaluate import (
    answer,
    evaluate,
    load_network,
    torch_predict,
    write_report,
)
from training.export import Options, export_checkpoint, export_random
from training.foreign import NORMALIZATIONS, export_weights, fit_to_data, read_foreign
from training.graph import ExportError
from training.precisions import GATES, chosen_precisions
from training.recipes import RECIPES, RecipeError, get_recipe
from training.run import CheckpointError, RunRecord, read_checkpoint
from training.train import TrainingError, train
from training.trust_table import trust_table

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="FOLDER",
        help="Pictures as <label>/*.jpg or {train,val,test}/<label>/*.jpg, or Fashion-MNIST's "
        "four files. Fashion-MNIST where it is installed, or the run's own data, if not said.",
    ),
]


UNMEASURED = (
    "note: without --data the cheaper precisions were held against float32 on random pictures "
    "alone, which also gave int8 its ranges; what they cost in accuracy is not known"
)


@contextmanager
def _told_in_one_line() -> Iterator[None]:
    try:
        yield
    except (
        ArtifactError,
        CheckpointError,
        DatasetError,
        ExportError,
        RecipeError,
        TrainingError,
        WeightsError,
    ) as error:
        raise CommandError(str(error)) from error


def _train(
    recipe: Annotated[str, typer.Option(help=f"One of {', '.join(RECIPES)}.")] = "default",
    data: DataOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; runs/<recipe>-<seed> if not said.")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Of weights, order and augmentation.")
    ] = 0,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change the recipe.")
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Weights to begin with: .pth, .ckpt or .safetensors."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last epoch.")] = False,
) -> None:
    """Train a network of the family and keep its best weights.

    Example: train-model --recipe default --data pictures --out runs/pictures
    """
    if init is not None and resume:
        raise typer.BadParameter("a run that goes on has weights already", param_hint="--init")
    with _told_in_one_line():
        chosen = get_recipe(recipe, changes or ())
        dataset = _read(data, seed)
        folder = out or Path("runs") / f"{recipe}-{seed}"
        outcome = train(
            dataset, chosen, folder, seed=seed, resume=resume, init=init, tell=typer.echo
        )
    how = "stopped by hand" if outcome.interrupted else "done"
    typer.echo(
        f"{how} after {outcome.epochs} epochs; best {outcome.monitor} {outcome.best:.4f}, "
        f"weights in {outcome.folder.best}",
    )


def _evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="A .ckpt file, or a run folder.")],
    data: DataOption = None,
    out: Annotated[
        Path | None, typer.Option(help="For the report; beside the checkpoint if not said.")
    ] = None,
) -> None:
    """Measure a checkpoint on the test split: loss, accuracy, calibration, confusions.

    Example: evaluate-model runs/default-0
    """
    with _told_in_one_line():
        record, normalize, network = load_network(checkpoint)
        dataset = _own_data(record, data)
        answers = answer(torch_predict(network, normalize), dataset.test)
    figures = evaluate(answers, labels=record.labels, dataset=dataset.name, split="test")
    folder = out or (checkpoint if checkpoint.is_dir() else checkpoint.parent)
    paths = write_report(folder, figures, answers)
    typer.echo(
        f"{dataset.name}, {figures.n:,} test pictures: loss {figures.loss:.4f}, "
        f"top-1 {figures.top1:.2%}, top-5 {figures.top5:.2%}, ECE {figures.ece:.2%}"
    )
    for label, accuracy in sorted(figures.per_label.items(), key=lambda item: item[1]):
        typer.echo(f"  {accuracy:7.2%}  {label}")
    typer.echo(f"written: {', '.join(map(str, paths))}")


def _export(
    checkpoint: Annotated[
        Path | None, typer.Argument(help="A .ckpt file, or a run folder.", show_default=False)
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="artifacts/<name>/<version>.", show_default=False)
    ] = Path(),
    data: DataOption = None,
    architecture: Annotated[
        str | None, typer.Option(help="With --weights or --random: which member of the family.")
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Trained elsewhere: .pth or .safetensors."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="With --weights: names, one a line; ImageNet's for 1,000."
        ),
    ] = None,
    normalize: Annotated[
        str,
        typer.Option(help=f"With --weights: {', '.join(NORMALIZATIONS)}, or M,M,M/S,S,S."),
    ] = "imagenet",
    random: Annotated[
        bool, typer.Option("--random", help="Seeded random weights, to serve without training.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an artifact that is there.")
    ] = False,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            help="float32, int8, float16, or all; may be given again. float32 is always in."
        ),
    ] = None,
    gates: Annotated[
        list[str] | None,
        typer.Option(
            "--gate",
            metavar="PRECISION=POINTS",
            help="Top-1 that a precision may lose on the test split; int8=0.2, float16=0.05.",
        ),
    ] = None,
    photographs: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Other pictures, to measure refusal with.")
    ] = None,
) -> None:
    """Export weights as an artifact that the service loads.

    Example: export-model runs/default-0 --out artifacts/fashion-mnist/1 --precision all

    Example: export-model --architecture resnet50 --weights resnet50.pth --out artifacts/imagenet/1
    """
    if out == Path():
        raise typer.BadParameter(
            "say where to write, for example artifacts/shoes/1", param_hint="--out"
        )
    sources = (checkpoint is not None, random, weights is not None)
    if sum(sources) != 1 or (architecture is None) != (checkpoint is not None):
        raise typer.BadParameter(
            "give a CHECKPOINT, or --architecture NAME with --random or with --weights FILE"
        )
    if labels is not None and weights is None:
        raise typer.BadParameter("needs --weights", param_hint="--labels")
    options = Options(_precisions(precision), _gates(gates), photographs)
    with _told_in_one_line():
        if checkpoint is not None:
            record, _ = read_checkpoint(checkpoint)
            dataset = _own_data(record, data)
            artifact = export_checkpoint(checkpoint, dataset, out, options, overwrite=overwrite)
        else:
            spec = _member(architecture or "")
            if weights is None:
                artifact = export_random(spec, out, options, overwrite=overwrite)
            else:
                given = read_foreign(spec, weights, labels=labels, normalize=normalize)
                measured = None if data is None else _read(data, 0, given.architecture.side)
                given = given if measured is None else fit_to_data(given, measured, normalize)
                artifact, report = export_weights(
                    given, out, options, dataset=measured, overwrite=overwrite
                )
                for line in report.lines():
                    typer.echo(line)
                if measured is None and len(artifact.manifest.files) > 1:
                    typer.echo(UNMEASURED)
    _tell_export(artifact)


def _member(name: str) -> Architecture:
    try:
        return get_architecture(name)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--architecture") from None


def _tell_export(artifact: Artifact) -> None:
    manifest = artifact.manifest
    file = manifest.files["float32"]
    measured = f", top-1 {manifest.metrics.top1:.2%}" if manifest.metrics else ""
    typer.echo(
        f"written: {artifact.folder} ({manifest.architecture.name}, {file.bytes:,} bytes, "
        f"onnxruntime within {file.max_abs_logit_error:.1e} of torch{measured})",
    )
    if manifest.calibration or len(manifest.files) > 1:
        typer.echo(trust_table(manifest))


def _precisions(names: list[str] | None) -> tuple[Precision, ...]:
    try:
        return chosen_precisions(tuple(names or ()))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--precision") from None


def _gates(given: list[str] | None) -> dict[Precision, float]:
    """Read PRECISION=POINTS pairs over the usual gates."""
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


def _own_data(record: RunRecord, data: Path | None) -> Dataset:
    """Read the data that a run was trained on, from where it lay unless told otherwise."""
    spec = record.preprocessing
    dataset = _read(data or Path(record.dataset_source), record.seed, spec.crop)
    if dataset.labels != record.labels:
        raise DatasetError(
            f"{dataset.source} has the labels {', '.join(dataset.labels[:5])}...; the run was "
            f"trained on {', '.join(record.labels[:5])}.... Name the run's own data with --data."
        )
    found = dataset.preprocessing
    if (found.crop, found.channels) != (spec.crop, spec.channels):
        raise DatasetError(
            f"{dataset.source} gives pictures of {found.crop} pixels, {found.channels} channels; "
            f"the run was trained on {spec.crop} and {spec.channels}."
        )
    if dataset.sha256 != record.dataset_sha256:
        typer.echo("note: these are not the very pictures that the run was trained on")
    return dataset


def _read(source: Path | None, seed: int, size: int | None = None) -> Dataset:
    """Read the data and say what was found, and what was left out."""
    dataset = read_dataset(source, seed, size)
    shape = tuple(dataset.train.images.shape[1:])
    typer.echo(
        f"{dataset.name}: {len(dataset.train):,} + {len(dataset.validation):,} + "
        f"{len(dataset.test):,} pictures to train, validate and test, {len(dataset.labels)} "
        f"labels, {shape[0]} x {shape[1]} x {shape[2]}",
    )
    if dataset.unreadable:
        typer.echo(f"{len(dataset.unreadable)} unreadable files left out:")
        for reason in dataset.unreadable[:10]:
            typer.echo(f"  {reason}")
        if len(dataset.unreadable) > 10:
            typer.echo(f"  and {len(dataset.unreadable) - 10} more")
    return dataset


train_script = script(_train)
evaluate_script = script(_evaluate)
export_script = script(_export)
