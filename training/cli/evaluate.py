"""The command `evaluate-model`."""

from pathlib import Path
from typing import Annotated

import typer

from model.cli import CommandError
from training.cli.errors import user_errors
from training.cli.options import DataOption, LabelsCsvOption
from training.evaluation.measured import Measured, is_artifact, measure_artifact, measure_run
from training.evaluation.metrics import Evaluation, evaluate, write_report
from training.evaluation.mistakes import draw_mistakes, find_mistakes
from training.evaluation.requirements import figures_of, read_requirements

NOT_MET = 3
"""Exit code if a requirement is not met; 1 is for what could not be measured."""

RequireOption = Annotated[
    list[str] | None,
    typer.Option(
        "--require",
        metavar="NAME=VALUE",
        help="Exit with code 3 if this is not met; can be repeated. Minimum for top1, "
        "top5, balanced, worst_label, n; maximum for nll, ece, brier.",
    ),
]
PrecisionOption = Annotated[
    str | None,
    typer.Option(help="Precision of an artifact: float32, float16 or int8. Default: float32."),
]


def evaluate_model(
    model: Annotated[
        Path, typer.Argument(help="A run folder, a .ckpt file, or the folder of an artifact.")
    ],
    data: DataOption = None,
    labels_csv: LabelsCsvOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the report. Default: the run folder, or evaluations/ for other data."
        ),
    ] = None,
    require: RequireOption = None,
    precision: PrecisionOption = None,
) -> None:
    """Measure a model on labelled images: loss, accuracy, calibration, confusions.

    A run is measured on its own test split, unless --data names others. Other images may be in
    one folder per label, with or without splits, and of some of the labels.

    Example: evaluate-model runs/default-0

    Example: evaluate-model artifacts/shoes/1 --data new-images --require top1=0.9
    """
    try:
        requirements = read_requirements(require or ())
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--require") from None
    with user_errors():
        if is_artifact(model):
            measured = measure_artifact(model, data, precision or "float32", labels_csv)
        elif precision is None:
            measured = measure_run(model, data, labels_csv)
        else:
            raise typer.BadParameter("needs an artifact", param_hint="--precision")
    figures = evaluate(
        measured.predictions,
        labels=measured.labels,
        dataset=measured.dataset,
        split=measured.split,
        mirrored=measured.mirrored,
    )
    _print(figures)
    paths = _write(out or measured.out, figures, measured)
    typer.echo(f"written: {', '.join(map(str, paths))}")
    by_name = figures_of(figures, measured.predictions)
    failures = [each.failure(by_name) for each in requirements]
    for failure in filter(None, failures):
        typer.echo(f"not met: {failure}", err=True)
    if any(failures):
        raise typer.Exit(NOT_MET)


def _write(folder: Path, figures: Evaluation, measured: Measured) -> tuple[Path, ...]:
    """Write figures, diagrams and the sheet of mistakes."""
    try:
        paths = write_report(folder, figures, measured.predictions)
        mistakes = find_mistakes(measured.predictions, measured.labels, measured.files)
        if mistakes:
            paths += (folder / "mistakes.png",)
            images = measured.images([mistake.position for mistake in mistakes])
            draw_mistakes(mistakes, images, paths[-1])
    except OSError as error:
        raise CommandError(
            f"The report cannot be written to {folder}: {error.strerror}."
        ) from error
    return paths


def _print(figures: Evaluation) -> None:
    split = "" if figures.split == "all" else f"{figures.split} "
    top5 = f"top-5 {figures.top5:.2%}, " if len(figures.per_label) > 5 else ""
    typer.echo(
        f"{figures.dataset}, {figures.n:,} {split}images: loss {figures.loss:.4f}, "
        f"top-1 {figures.top1:.2%}, {top5}ECE {figures.ece:.2%}"
    )
    if figures.split == "validation":
        typer.echo(
            "note: there is no test split; the validation split may have chosen the "
            "weights, so figures may be too good"
        )
    if figures.mirrored_top1 is not None:
        typer.echo(
            f"with mirror images (test-time augmentation): top-1 {figures.mirrored_top1:.2%}"
        )
    for label, accuracy in sorted(figures.per_label.items(), key=lambda item: item[1] or 0):
        shown = "no test" if accuracy is None else f"{accuracy:.2%}"
        typer.echo(f"  {shown:>7}  {label}")
