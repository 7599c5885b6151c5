"""A large folder: seconds to the first step, memory, and the loader beside Pillow alone.

    python -m benchmarks.loading [--images 200000] [--width 256] [--height 192] [--size 128]

The folder is made of some thousand distinct JPEGs, each written again with another comment, so
that no two files have the same bytes. Pillow alone decodes such files and resizes them to the
network's size, in as many processes as there are cores. Both are measured in turns: the images
that they give in a second, and the processor time that an image takes, which other work on the
machine changes less. Each ratio is that of Pillow alone to the loader, or the other way round, so
that 1 is as good as Pillow. The first step is that of `train-model` without an option, in a process
of its own.
"""

import io
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from PIL import Image

from benchmarks.process import cpu_s, processes_from, write_result
from model.cli import script
from training.data.folder import read_image_folder
from training.data.loader import loader
from training.data.streamed import StreamedSplit

FOLDER = Path(tempfile.gettempdir()) / "loading-images"
DISTINCT = 2_000
LABELS = 10
BATCH_SIZE = 128
ROUNDS = 5
BATCHES_A_ROUND = 40
SETTLE_S = 2.0
"""Until the workers have decoded ahead, and leave the cores to Pillow."""
TRAIN = """
import os, time
from training.fit.callbacks.checkpointing import ExactResume
from training.fit.module import Classifier

step = Classifier.training_step

def training_step(self, batch, number):
    loss = step(self, batch, number)
    if self.trainer.checkpoint_callback is not None:  # not one of the measured steps before
        print("FIRST STEP", flush=True)
        time.sleep(2)
        os._exit(0)
    return loss

Classifier.training_step = training_step
from training.cli.main import train_script
train_script()
"""


def make_folder(root: Path, count: int, size: tuple[int, int]) -> None:
    """Write so many JPEGs, evenly over the labels; keep a folder that has as many."""
    if sum(len(files) for _, _, files in os.walk(root)) == count:
        return
    rng = np.random.default_rng(0)
    distinct = [_jpeg(size, rng) for _ in range(min(count, DISTINCT))]
    for number in range(count):
        folder = root / f"kind{number % LABELS}"
        if number < LABELS:
            folder.mkdir(parents=True, exist_ok=True)
        data, comment = distinct[number % len(distinct)], b"%08d" % number
        segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
        (folder / f"{number:06d}.jpg").write_bytes(data[:2] + segment + data[2:])


def _jpeg(size: tuple[int, int], rng: np.random.Generator) -> bytes:
    """Draw smooth colours with noise on them: it compresses about as photographs do."""
    width, height = size
    coarse = rng.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    noisy = np.asarray(smooth) + rng.normal(0, 8, (height, width, 3))
    file = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=80)
    return file.getvalue()


def first_step(root: Path) -> dict[str, float]:
    """Start `train-model` without an option, up to the end of its first step."""
    with tempfile.TemporaryDirectory() as out:
        began = time.perf_counter()
        command = [sys.executable, "-c", TRAIN, "--data", str(root), "--out", f"{out}/run"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        peak, seconds, printed = 0, 0.0, b""
        os.set_blocking(process.stdout.fileno(), False)  # type: ignore[union-attr]
        while process.poll() is None:
            peak = max(peak, _memory(process.pid))
            printed += process.stdout.read() or b""  # type: ignore[union-attr]
            if b"FIRST STEP" in printed and not seconds:
                seconds = time.perf_counter() - began
            time.sleep(0.1)
    if not seconds:
        raise RuntimeError(f"`train-model` ended with {process.returncode} before its first step.")
    return {"first_step_s": round(seconds, 1), "peak_mb": round(peak / 1e6)}


def _memory(pid: int) -> int:
    """Sum the memory of a process and its workers; what they share counts once."""
    total = 0
    for each in processes_from(pid):
        try:
            lines = Path(f"/proc/{each}/smaps_rollup").read_text(encoding="utf-8").splitlines()
        except OSError:  # ended
            continue
        total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


def _decode(path: Path, size: int) -> None:
    with Image.open(path) as image:
        image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)


def compare(root: Path, size: int) -> dict[str, float]:
    """Measure the loader and Pillow alone in turns, in images a second."""
    split = read_image_folder(root, size).train
    if not isinstance(split, StreamedSplit):
        raise RuntimeError(f"{len(split):,} images of {size} pixels are held in memory: take more.")
    batches = loader(split, BATCH_SIZE, 0)
    stream, order = iter(batches), np.random.default_rng(0).permutation(len(split))
    needed = (ROUNDS + 1) * BATCHES_A_ROUND * BATCH_SIZE
    paths = iter([split.paths[position] for position in order[:needed]])
    ours, alone = [], []
    with multiprocessing.get_context("fork").Pool(max(1, batches.num_workers)) as pool:
        for _ in range(ROUNDS + 1):  # the first one warms up
            ours.append(_measure(partial(_take, stream), ahead=2 * batches.num_workers + 1))
            some = list(islice(paths, BATCHES_A_ROUND * BATCH_SIZE))
            decode = partial(_decode, size=size)
            alone.append(_measure(lambda count: count and pool.map(decode, some, 64)))  # noqa: B023
    ours, alone = ours[1:], alone[1:]
    pairs = list(zip(ours, alone, strict=True))
    return {
        "loader_images_s": round(median(each.images_s for each in ours)),
        "pillow_images_s": round(median(each.images_s for each in alone)),
        "ratio": round(median(one.images_s / other.images_s for one, other in pairs), 3),
        "loader_cpu_ms": round(median(each.cpu_ms for each in ours), 3),
        "pillow_cpu_ms": round(median(each.cpu_ms for each in alone), 3),
        "cpu_ratio": round(median(other.cpu_ms / one.cpu_ms for one, other in pairs), 3),
        "workers": batches.num_workers,
    }


class _Measured(NamedTuple):
    """A round: images a second, and the processor's milliseconds for an image."""

    images_s: float
    cpu_ms: float


def _measure(work: Callable[[int], object], ahead: int = 0) -> _Measured:
    """Measure a round, from one time when nothing is being decoded to the next.

    Args:
        work: Does so many batches.
        ahead: Batches that are ready when the round begins, and one more: their time does not
            count.
    """
    cpu = cpu_s(processes_from(os.getpid()))
    work(ahead)
    began = time.perf_counter()
    work(BATCHES_A_ROUND)
    seconds = time.perf_counter() - began
    time.sleep(SETTLE_S)
    images = BATCHES_A_ROUND * BATCH_SIZE
    cpu = (cpu_s(processes_from(os.getpid())) - cpu) / (images + ahead * BATCH_SIZE)
    return _Measured(images / seconds, 1e3 * cpu)


def _take(stream: Iterator[Any], count: int) -> None:
    """Take so many batches; the workers go on until enough are ready."""
    for _ in range(count):
        next(stream)


def main(
    images: Annotated[int, typer.Option(min=1)] = 200_000,
    width: Annotated[int, typer.Option(min=16, help="Of the files, in pixels.")] = 256,
    height: Annotated[int, typer.Option(min=16)] = 192,
    size: Annotated[int, typer.Option(min=8, help="Of the network's input, in pixels.")] = 128,
    folder: Annotated[Path, typer.Option(help="Made once.")] = FOLDER,
) -> None:
    """Make the folder, measure, print, and keep the results."""
    make_folder(folder, images, (width, height))
    measured: dict[str, Any] = {"images": images, "file_pixels": [width, height], "size": size}
    measured |= compare(folder, size)
    print(measured, flush=True)
    measured |= first_step(folder)
    print(measured)
    print(write_result("loading", measured))


if __name__ == "__main__":
    script(main)()
