"""Compare the speed of two graphs: pairs of blocks of runs, one after the other.

Other work on the machine slows both sides of a pair alike, so the ratio is reliable where the
absolute figures are not.
"""

import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from model.artifact.trust import Speed

PAIRS = 15
BLOCK_S = 0.1
"""Least duration of a block, in seconds. If single runs of two small networks alternate, each
starts with the other's data in the caches: mini_resnet loses 3 % in int8, 1 % in float32."""


def measure_speed(
    session: ort.InferenceSession,
    float32: ort.InferenceSession,
    images: NDArray[np.uint8],
    pairs: int = PAIRS,
) -> Speed:
    """Run both sessions on one batch, in turn.

    Args:
        session: The graph to be measured.
        float32: The graph that it is compared with; as many threads.
        images: One batch, uint8 (N, S, S, C).
        pairs: Blocks of each side, after a few runs to warm up.
    """
    asked = ["logits", "probabilities"], {"images": images}
    sides = [partial(side.run, *asked) for side in (session, float32)]
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
        threads=session.get_session_options().intra_op_num_threads,
        pairs=pairs,
        processor=processor_name(),
    )


def _seconds(run: Callable[[], object], repeats: int) -> float:
    """Run several times; return the seconds of one run."""
    began = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - began) / repeats


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the model name of the processor."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown"
