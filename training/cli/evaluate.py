"""The command `evaluate-model`."""

from pathlib import Path
from typing import Annotated

import typer

from model.cli import CommandError
from training.cli.errors import user_errors
from training.cli.options import DataOption
from training.evaluation.metrics import evaluate, write_report
from training.evaluation.mistakes import draw_mistakes, find_mistakes
from training.evaluation.predict import load_network, predict_split, with_mirror
from training.runs.dataset import dataset_to_evaluate


def evaluate_model(
    checkpoint: Annotated[Path, typer.Argument(help="A .ckpt file, or a run folder.")],
    data: DataOption = None,
    out: Annotated[
        Path | None, typer.Option(help="For the report. Default: beside the checkpoint.")
    ] = None,
) -> None:
    """Measure a checkpoint on the test split: loss, accuracy, calibration, confusions.

    Example: evaluate-model runs/default-0
    """
    with user_errors():
        trained = load_network(checkpoint)
        record = trained.record
        dataset = dataset_to_evaluate(record, data, checkpoint, splits=("test",))
        predict = trained.predict()
        predictions = predict_split(predict, dataset.test)
        mirrored = predict_split(with_mirror(predict), dataset.test) if record.recipe.flip else None
    figures = evaluate(
        predictions, labels=record.labels, dataset=dataset.name, split="test", mirrored=mirrored
    )
    folder = out or (checkpoint if checkpoint.is_dir() else checkpoint.parent)
    try:
        paths = write_report(folder, figures, predictions)
        mistakes = find_mistakes(predictions, dataset)
        if mistakes:
            paths += (folder / "mistakes.png",)
            draw_mistakes(mistakes, dataset, paths[-1])
    except OSError as error:
        raise CommandError(f"{folder} cannot hold the report: {error.strerror}.") from error
    typer.echo(
        f"{dataset.name}, {figures.n:,} test images: loss {figures.loss:.4f}, "
        f"top-1 {figures.top1:.2%}, top-5 {figures.top5:.2%}, ECE {figures.ece:.2%}"
    )
    if figures.mirrored_top1 is not None:
        typer.echo(f"with each image's mirror image as well: top-1 {figures.mirrored_top1:.2%}")
    for label, accuracy in sorted(figures.per_label.items(), key=lambda item: item[1] or 0):
        shown = "no test" if accuracy is None else f"{accuracy:.2%}"
        typer.echo(f"  {shown:>7}  {label}")
    typer.echo(f"written: {', '.join(map(str, paths))}")
