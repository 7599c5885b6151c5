"""How much faster one graph is than another: pairs of runs, one after the other.

The machine's other work hits both sides of a pair alike, so the ratio holds where the
absolute figures do not.
"""

import time
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from model.trust import Speed
from training.predict import onnx_session

PAIRS = 15


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
        pairs: After one run of each to warm up.
    """
    sessions = [onnx_session(graph, threads=threads) for graph in (model, float32)]
    seconds: list[list[float]] = [[], []]
    for pair in range(pairs + 1):
        order = (0, 1) if pair % 2 else (1, 0)
        for which in order:
            began = time.perf_counter()
            sessions[which].run(["logits", "probabilities"], {"images": images})
            if pair:
                seconds[which].append(time.perf_counter() - began)
    return Speed(
        images_per_second=round(len(images) / median(seconds[0]), 1),
        float32_images_per_second=round(len(images) / median(seconds[1]), 1),
        ratio=round(median(slow / fast for fast, slow in zip(*seconds, strict=True)), 3),
        batch_size=len(images),
        threads=threads,
        pairs=pairs,
        processor=processor_name(),
    )


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Give the processor's own name for itself."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown"
