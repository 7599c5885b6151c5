"""What decoding in child processes costs: `python -m benchmarks.isolation`.

The same images one after another, in this process and in a child, in turns. Processor time is that
of both. The results are in docs/operations.md and docs/decisions/0068-decoding-in-children.md.
"""

import asyncio
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.images import make_image
from model.preprocessing import Preprocessing
from service.cancellation import Disconnect
from service.preprocessing.prepare import Preprocessor

ROUNDS = 10
SMALL = Preprocessing(resize=28, crop=28, channels=1, mean=(0.0,), std=(1.0,))
LARGE = Preprocessing(resize=256, crop=224, channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)


class Spent(NamedTuple):
    """For one image, in milliseconds."""

    processor: float
    wall: float


def processor_s() -> float:
    """Sum up the processor time of this process and its children, to the nanosecond."""
    children = Path("/proc/self/task").glob("*/children")
    pids = {"self"}.union(*(each.read_text().split() for each in children))
    tasks = [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


async def measure(preprocessor: Preprocessor, payload: bytes, count: int) -> Spent:
    """Prepare an image so many times."""
    began, cpu = time.perf_counter(), processor_s()
    for _ in range(count):
        await preprocessor.prepare([payload], time.perf_counter() + 60, Disconnect())
    cpu, wall = processor_s() - cpu, time.perf_counter() - began
    return Spent(1000 * cpu / count, 1000 * wall / count)


async def compare(name: str, payload: bytes, spec: Preprocessing, count: int) -> None:
    """Measure one kind of image in turns, and print the least of all turns.

    Whatever else the machine does adds to the others.
    """
    kinds = {"none": None, "process": 60.0}
    made = {kind: Preprocessor(spec, 25_000_000, 2, child_timeout_s=kinds[kind]) for kind in kinds}
    spent: dict[str, list[Spent]] = {kind: [] for kind in kinds}
    for turn in range(ROUNDS + 1):
        for kind, preprocessor in made.items():
            measured = await measure(preprocessor, payload, count)
            if turn:  # the first one warms up
                spent[kind].append(measured)
    own, child = (Spent(*map(min, zip(*spent[kind], strict=True))) for kind in kinds)
    print(
        f"{name}: processor {own.processor:.3f} -> {child.processor:.3f} ms"
        f" (+{child.processor - own.processor:.3f}), wall {own.wall:.3f} -> {child.wall:.3f} ms"
        f" (+{child.wall - own.wall:.3f}, x {child.wall / own.wall:.2f})"
    )
    for preprocessor in made.values():
        preprocessor.stop()


async def main() -> None:
    """Measure three kinds of images."""
    await compare("28 px PNG", make_image(28), SMALL, 300)
    await compare("JPEG of 100 KB", make_image(640, "JPEG", 100_000), LARGE, 40)
    await compare("JPEG of 12 megapixels", make_image(3464, "JPEG"), LARGE, 4)


if __name__ == "__main__":
    asyncio.run(main())
