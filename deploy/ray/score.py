"""Any number of image files to Parquet, on all nodes of a Ray cluster.

`python -m deploy.ray.score ARTIFACT FOLDER --out OUT`. Ray Data hands out numbers of shards; an
actor reads the shard's files, and decodes and predicts them with what `predict-model` uses. The
bytes of images never pass through Ray's object store.
"""

import hashlib
import logging
import time
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import ray
import typer
from numpy.typing import NDArray

from deploy.ray.lake import Lake, open_lake
from model.artifact.folder import ArtifactError, read
from model.cli import CommandError, script
from service.errors import ServiceError, StartError
from service.log import set_up_logging
from service.offline.folder import ImageFolder, as_text
from service.offline.pipeline import batch_size, predict_files
from service.offline.predictor import Predictor, read_file
from service.offline.progress import progress
from service.postprocessing.schemas import Result
from service.postprocessing.trust import PredictOptions
from service.registry.loading import load_engine
from service.settings import Settings, read_settings

THREADS = 2
"""Of an actor: one reads files while the other computes."""
Summary = dict[str, NDArray[np.int64]]
Row = dict[str, Any]


class Job(NamedTuple):
    """What every actor is given.

    Attributes:
        artifact: Folder of the model; all nodes see it, the images and `out` at the same path.
        images: Folder of images.
        out: Folder of the result.
        settings: Of the service.
    """

    artifact: Path
    images: Path
    out: Path
    settings: Settings


class Scorer:
    """Predicts shards; an actor of Ray Data, with a session of one thread.

    Args:
        job: What to do.

    Raises:
        StartError: If this node's artifact is not the one that the job began with.
    """

    def __init__(self, job: Job) -> None:
        set_up_logging("warning", "text")
        self._images, self._lake = job.images, Lake(job.out)
        self._predictor, about = load(job.artifact, job.settings)
        if changed := [name for name in about if about[name] != self._lake.about[name]]:
            raise StartError(
                f"On this node the model has another {changed[0]} ({about[changed[0]]}). Copy the "
                "same artifact to all nodes."
            )
        self._model = {name: about[name] for name in ("model", "version")}

    def __call__(self, batch: Summary) -> Summary:
        """Score shards: their numbers -> how many rows each of them has."""
        return {"rows": np.array([self._score(int(shard)) for shard in batch["shard"]])}

    def _score(self, shard: int) -> int:
        rows: list[Row] = []
        size = batch_size(self._predictor.image_size)
        predict_files(self._lake.files(shard), self._rows, rows.extend, threads=THREADS, batch=size)
        self._lake.write(shard, rows)
        return len(rows)

    def _rows(self, files: Any) -> list[Row]:
        digests: list[str | None] = []

        def payload(file: str) -> bytes | str:
            content = read_file(self._images / file)
            digests.append(
                None if isinstance(content, str) else hashlib.sha256(content).hexdigest()
            )
            return content

        results = self._predictor.results(map(payload, files))
        return [
            {"path": as_text(file), "sha256": digest} | self._model | _cells(result)
            for file, digest, result in zip(files, digests, results, strict=True)
        ]


def _cells(result: Result | str) -> Row:
    if isinstance(result, str):
        return {"error": " ".join(result.split())}
    first = result["predictions"][0]
    return {
        "label": first["label"],
        "probability": first["probability"],
        "score": result.get("score"),
    }


def load(artifact: Path, settings: Settings) -> tuple[Predictor, dict[str, str]]:
    """Load a model, and say what it is.

    Raises:
        ArtifactError: If the folder holds no artifact.
        StartError: If it cannot be used here.
    """
    engine = load_engine(read(artifact), settings, threads=1)
    manifest = engine.manifest
    about = {
        "model": manifest.name,
        "version": manifest.version,
        "precision": engine.precision,
        "provider": engine.provider,
        "sha256": manifest.files[engine.precision].sha256,
    }
    return Predictor(manifest, engine, PredictOptions(top_k=1), settings.max_pixels), about


def score(job: Job, lake: Lake, actors: int) -> int:
    """Score the shards that are left; return the number of new rows."""
    new, left = 0, lake.left()
    if not left:
        return 0
    ray.data.DataContext.get_current().enable_progress_bars = False  # `progress` knows more
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    compute = ray.data.ActorPoolStrategy(min_size=1, max_size=min(actors, len(left)))
    gpus = 1 if lake.about["provider"] == "cuda" else 0
    shards = ray.data.from_items(
        [{"shard": shard} for shard in left], override_num_blocks=len(left)
    )
    done = shards.map_batches(
        Scorer,
        batch_size=1,
        batch_format="numpy",
        compute=compute,
        num_cpus=1,
        num_gpus=gpus,
        fn_constructor_args=(job,),
    )
    with progress(lake.about["files"] - _rows_before(lake, left)) as advance:
        for row in done.iter_rows():
            advance(int(row["rows"]))
            new += int(row["rows"])
    return new


def _rows_before(lake: Lake, left: list[int]) -> int:
    size, files = int(lake.about["shard_size"]), int(lake.about["files"])
    return files - sum(min(size, files - shard * size) for shard in left)


def _score(
    artifact: Annotated[Path, typer.Argument(help="Folder <name>/<version>, or <name>.")],
    folder: Annotated[Path, typer.Argument(help="Folder of images, at any depth.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Of the result.", show_default=False)],
    shard_size: Annotated[int, typer.Option(min=1, help="Files in a Parquet file.")] = 1024,
    actors: Annotated[int, typer.Option(min=0, help="At most; 0: one for each CPU.")] = 0,
    address: Annotated[
        str | None,
        typer.Option(help="Of a Ray cluster; none: the one that runs here, else a new one."),
    ] = None,
) -> None:
    """Predict every image of a folder into Parquet files, on all nodes of a Ray cluster.

    The answers are those of `serve-model`. A file that cannot be decoded is a row with the
    reason. If the command was stopped, call it again: it continues where it was.

    Example: python -m deploy.ray.score artifacts/fashion-mnist/1 images --out scores
    """
    try:
        settings = read_settings(artifact=artifact)
        set_up_logging("warning", "text")
        _, about = load(artifact, settings)
        pinned = settings.model_copy(
            update={name: about[name] for name in ("precision", "provider")}
        )
        job = Job(artifact.resolve(), folder.resolve(), out.resolve(), pinned)
        listed = {"folder": as_text(str(job.images)), "shard_size": shard_size}
        lake = open_lake(out, about | listed, ImageFolder(folder).files())
        if not lake.about["files"]:
            raise CommandError(f"{folder} has no image.")
        began = time.perf_counter()
        with ray.init(address=address, log_to_driver=False, logging_level="warning"):
            new = score(job, lake, actors or int(ray.cluster_resources()["CPU"]))
        seconds = time.perf_counter() - began
        done = lake.finish()
    except (ArtifactError, ServiceError, StartError) as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{error.filename or out}: {error.strerror or error}.") from error
    typer.echo(
        f"written: {out}, {done['rows']:,} rows, {done['errors']:,} of them with an error, "
        f"{new / seconds:,.0f} images a second"
    )


main = script(_score)

if __name__ == "__main__":
    main()
