"""The command `predict-model`: a folder of images to a CSV file, without a server."""

import os
import time
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from model.artifact.folder import ArtifactError, read
from model.artifact.prediction_sets import HIGHEST_COVERAGE, LOWEST_COVERAGE
from model.cli import CommandError, script
from service.cpus import usable_cores
from service.errors import ServiceError, StartError
from service.inference.engine import Engine
from service.log import set_up_logging
from service.offline.folder import ImageFolder, as_text
from service.offline.pipeline import batch_size, predict_files
from service.offline.predictor import Predictor
from service.offline.progress import progress
from service.offline.results import Results, Row
from service.postprocessing.trust import PredictOptions
from service.registry.loading import load_engine
from service.settings import read_settings

INTERRUPTED = 130
"""Exit code after Ctrl+C, as a shell gives it."""


def _predict(
    artifact: Annotated[
        Path, typer.Argument(help="Folder <name>/<version>, or <name> for its newest version.")
    ],
    folder: Annotated[Path, typer.Argument(help="Folder of images, at any depth.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The CSV file.", show_default=False)],
    top_k: Annotated[
        int, typer.Option(min=1, max=1000, help="Number of labels for each image.")
    ] = 5,
    coverage: Annotated[
        float | None,
        typer.Option(
            min=LOWEST_COVERAGE,
            max=HIGHEST_COVERAGE,
            help="Add a prediction set that contains the true label this often.",
        ),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="Precision: auto, float32, float16 or int8.")
    ] = None,
    provider: Annotated[str | None, typer.Option(help="Where to run: auto, cpu or cuda.")] = None,
) -> None:
    """Predict every image of a folder into a CSV file, on all cores, without a server.

    The answers are those of `serve-model`. A file that cannot be decoded is a row with the
    reason. If the command was stopped, call it again: it continues where it was.

    Example: predict-model artifacts/fashion-mnist/1 images --out results.csv
    """
    given = {"artifact": artifact, "precision": precision, "provider": provider}
    try:
        settings = read_settings(**{key: value for key, value in given.items() if value})
        set_up_logging("warning", "text")
        engine = load_engine(read(artifact), settings, threads=1)
        options = PredictOptions(top_k=top_k, coverage=coverage)
        threads = usable_cores(at_most=settings.max_cores)
        _predict_folder(engine, options, ImageFolder(folder), out, settings.max_pixels, threads)
    except KeyboardInterrupt:
        typer.echo(f"interrupted; run the same command again to continue {out}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except (ArtifactError, ServiceError, StartError) as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{error.filename or out}: {error.strerror or error}.") from error


def _predict_folder(
    engine: Engine,
    options: PredictOptions,
    folder: ImageFolder,
    out: Path,
    max_pixels: int,
    threads: int,
) -> None:
    """Predict the files that have no row yet, and print what was done."""
    manifest = engine.manifest
    predictor = Predictor(manifest, engine, options, max_pixels)
    about = {
        "model": manifest.name,
        "version": manifest.version,
        "precision": engine.precision,
        "provider": engine.provider,
        "sha256": manifest.files[engine.precision].sha256,
        "top_k": options.top_k,
        "coverage": options.coverage,
        "folder": as_text(os.path.realpath(folder.root)),
    }
    total = sum(1 for _ in folder.files())
    if not total:
        raise CommandError(f"{folder.root} has no image.{_left_out(folder)}")
    with Results(out, predictor.columns, about) as results:
        begun = len(results.done)
        typer.echo(
            f"{manifest.name}/{manifest.version} in {engine.precision} on {engine.provider}, "
            f"{threads} threads: {total:,} images{f', {begun:,} done before' if begun else ''}"
        )
        seconds = _fill(results, predictor, folder, total - begun, threads)
        new = len(results.done) - begun
        speed = f", {new / seconds:,.0f} images a second" if new else ""
        typer.echo(
            f"written: {out}, {len(results.done):,} rows, {results.failed:,} of them with an "
            f"error{speed}{_left_out(folder)}"
        )


def _fill(
    results: Results, predictor: Predictor, folder: ImageFolder, left: int, threads: int
) -> float:
    """Predict what has no row yet; return how many seconds that took."""
    began = time.perf_counter()
    with progress(left) as advance:

        def write(rows: list[Row]) -> None:
            results.append(rows)
            advance(len(rows))

        predict_files(
            (file for file in folder.files() if as_text(file) not in results.done),
            partial(predictor.rows, folder.root),
            write,
            threads=threads,
            batch=batch_size(predictor.image_size),
        )
    return time.perf_counter() - began


def _left_out(folder: ImageFolder) -> str:
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(folder.left_out.items()))
    return f"; left out: {kinds}" if kinds else ""


predict = script(_predict)
