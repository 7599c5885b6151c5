"""How much faster one graph is than another: pairs of blocks of runs, one after the other.

The machine's other work hits both sides of a pair alike, so the ratio holds where the
absolute figures do not.
"""

import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from model.artifact.trust import Speed
from training.evaluation.predict import onnx_session

PAIRS = 15
BLOCK_S = 0.1
"""Of one side of a pair, at least. A single run of a small network, in turn with another's, begins
with caches full of that one: mini_resnet loses up to 3 % to it in int8, 1 % in float32."""


def measure_speed(
    model: bytes,
    float32: bytes,
    images: NDArray[np.uint8],
    *,
    threads: int,
    pairs: int = PAIRS,
) -> Speed:
    """Run both graphs on one batch in turn, the session alone.

    Args:
        model: The graph to be judged.
        float32: The one it is held against.
        images: One batch, uint8 (N, S, S, C).
        threads: Of each session.
        pairs: After a few runs of each to warm up.
    """
    asked = ["logits", "probabilities"], {"images": images}
    sides = [
        partial(onnx_session(graph, threads=threads).run, *asked) for graph in (model, float32)
    ]
    repeats = [math.ceil(BLOCK_S / _seconds(run, 3)) for run in sides]
    seconds: list[list[float]] = [[], []]
    for pair in range(pairs):
        for which in (0, 1) if pair % 2 else (1, 0):
            seconds[which].append(_seconds(sides[which], repeats[which]))
    return Speed(
        images_per_second=round(len(images) / median(seconds[0]), 1),
        float32_images_per_second=round(len(images) / median(seconds[1]), 1),
        ratio=round(median(slow / fast for fast, slow in zip(*seconds, strict=True)), 3),
        batch_size=len(images),
        threads=threads,
        pairs=pairs,
        processor=processor_name(),
    )


def _seconds(run: Callable[[], object], repeats: int) -> float:
    """Run several times; seconds of one run."""
    began = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - began) / repeats


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Give the processor's own name for itself."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown"
