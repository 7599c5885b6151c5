"""What each precision is worth in speed: the session alone, beside float32, in pairs.

Random weights of any member of the family are as fast as trained ones, so nothing has to
be trained. Both graphs of a pair answer the same batch for a while, one after the other, so
other work on the machine hits both alike; the ratio is the median over the pairs.

    python -m benchmarks.precision [ARCHITECTURE ...] [--precision int8] [--batch 8]
"""

import json
import platform
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import onnxruntime as ort
import typer

from model.architecture.family import get_architecture
from model.artifact.trust import Speed
from model.cli import script
from training.evaluation.predict import onnx_session
from training.export.latency import measure_speed, processor_name
from training.export.options import Options
from training.export.precisions import SPEED_BATCH, chosen_precisions
from training.export.session import SPEED_THREADS
from training.export.uncalibrated import export_random
from training.runs.environment import commit

NAMES = ("mini_resnet", "resnet18", "resnet50")
RESULTS = Path(__file__).parent / "results" / "precision.json"


def measure(name: str, precision: str, batch: int, pairs: int, threads: int) -> Speed:
    """Export random weights in two precisions and run both."""
    (_, reduced) = chosen_precisions((precision,))
    with tempfile.TemporaryDirectory() as folder:
        artifact = export_random(
            get_architecture(name), Path(folder) / name / "1", Options(("float32", reduced))
        )
        size, channels = artifact.manifest.input.size, artifact.manifest.input.channels
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (batch, size, size, channels), dtype=np.uint8)
        session, float32 = (
            onnx_session(artifact.model(which), threads=threads) for which in (reduced, "float32")
        )
        return measure_speed(session, float32, images, pairs)


def main(  # noqa: PLR0913, PLR0917  # the command's options
    names: Annotated[list[str] | None, typer.Argument(help="Architectures.")] = None,
    precision: Annotated[Literal["int8", "float16"], typer.Option()] = "int8",
    batch: Annotated[int, typer.Option(min=1)] = SPEED_BATCH,
    pairs: Annotated[int, typer.Option(min=1)] = 15,
    threads: Annotated[int, typer.Option(min=1)] = SPEED_THREADS,
    out: Annotated[Path, typer.Option(metavar="FILE")] = RESULTS,
) -> None:
    """Measure, print a table, and write the results."""
    results: dict[str, object] = {}
    print(f"| architecture | float32 images/s | {precision} images/s | ratio |")
    print("| --- | --- | --- | --- |")
    for name in names or NAMES:
        speed = measure(name, precision, batch, pairs, threads)
        results[name] = speed.model_dump()
        print(
            f"| {name} | {speed.float32_images_per_second:,.0f} | {speed.images_per_second:,.0f} "
            f"| {speed.ratio:.2f} |",
            flush=True,
        )
    out.parent.mkdir(exist_ok=True)
    about = {
        "precision": precision,
        "processor": processor_name(),
        "system": platform.platform(),
        "onnxruntime": ort.__version__,
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    out.write_text(json.dumps({**about, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    script(main)()
