"""The tables of docs/trust.md, from what the benchmarks of trust left in `results`.

`benchmarks.published` writes them into the page, so no figure there is typed.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchmarks import calibrators, ood_detection, small_sets
from model.artifact.card_figures import table

Found = Mapping[str, Any]
COVERAGE_TITLES = (
    *("data, network, seed", "calibration, test images", "wanted %", "measured %"),
    *("guaranteed %", "inside", "labels a set", "lowest of a label %"),
    "the same, `per_label`",
)
FLAGGED_TITLES = (
    *("data, network, seed", "top-1, calibration", "top-1, test", "flagged %", "expected %"),
    "flagged ones answered rightly %",
)
EXPLANATION_TITLES = (
    *("data", "images", "covered with", "cells", "loss of probability, top tenth covered"),
    *("area under the deletion curve (lower is better)", "insertion (higher is better)"),
)
ORDERS = MappingProxyType(
    {"map": "by the map", "random": "at random", "equally bright": "at random, equally bright"}
)


def _read(path: Path) -> Any:
    return json.loads(path.read_bytes())["measured"]


def coverage(results: Path) -> str:
    """Write the coverage of each run, and below it the share that is flagged."""
    runs = _read(results / "coverage.json")["runs"]
    lines = [line for run in runs for line in _coverage_of(run)]
    return f"{table(COVERAGE_TITLES, lines)}\n\n{table(FLAGGED_TITLES, map(_flagged_of, runs))}"


def _coverage_of(run: Found) -> Iterator[tuple[str, ...]]:
    own = {one["wanted"]: one for one in run["sets_per_label"]}
    for one in run["sets"]:
        low, high = one["expected"]
        yield (
            _name(run),
            f"{run['images']['calibration']:,}, {run['images']['test']:,}",
            f"{100 * one['wanted']:.0f}",
            f"{100 * one['by_threshold']:.2f}",
            f"{100 * low:.2f} to {100 * high:.2f}",
            "yes" if low <= one["by_threshold"] <= high else "**no**",
            f"{one['mean_size']:.2f}",
            _lowest(one),
            _lowest(own.get(one["wanted"])),
        )


def _name(run: Found) -> str:
    return f"{run['dataset']}, `{run['architecture']}`, {run['seed']}"


def _lowest(one: Found | None) -> str:
    if one is None:
        return "not offered"
    return f"{100 * min(share for share in one['per_label'] if share is not None):.1f}"


def _flagged_of(run: Found) -> tuple[str, ...]:
    low, high = run["flagged_interval"]
    right = run["flagged_top1"]
    return (
        _name(run),
        *(f"{run['top1'][name]:.4f}" for name in ("calibration", "test")),
        f"{100 * run['flagged']:.2f}",
        f"{100 * low:.2f} to {100 * high:.2f}",
        "-" if right is None else f"{100 * right:.1f}",
    )


def compared_calibrators(results: Path) -> str:
    """Write what each calibrator is worth."""
    return table(calibrators.TITLES, calibrators.table(_read(results / "calibrators.json")))


def near_and_far(results: Path) -> str:
    """Write how well the scores detect OOD images, one table for each data set."""
    parts = []
    for path in sorted(results.glob("ood-detection-*.json")):
        found = _read(path)
        titles, _, *lines = ood_detection.table(found["networks"])
        left_out = ", ".join(found["left_out"])
        count = len(found["networks"])
        networks = f"{count} networks" if count > 1 else "one network"
        name = found["networks"][0]["dataset"]
        parts.append(f"{name} without {left_out}, {networks}:\n\n{table(titles, lines)}")
    return "\n\n".join(parts)


def explanations(results: Path) -> str:
    """Write what covering cells does, by data set, fill and order."""
    lines = [
        line
        for path in sorted(results.glob("explanations-*.json"))
        for line in _explanations_of(_read(path))
    ]
    return table(EXPLANATION_TITLES, lines)


def _explanations_of(found: Found) -> Iterator[tuple[str, ...]]:
    for fill, orders in found["fills"].items():
        for order, its in orders.items():
            yield (
                found["dataset"],
                f"{found['images']:,}",
                fill,
                ORDERS[order],
                f"{its['fall, tenth covered']:.3f} ± {its['its standard error']:.3f}",
                f"{its['deletion area']:.3f}",
                f"{its['insertion area']:.3f}",
            )


def few_images(results: Path) -> str:
    """Write what is left on small sets."""
    return table(small_sets.TITLES, map(small_sets.row, _read(results / "small-sets.json")))


TABLES: Mapping[str, Callable[[Path], str]] = MappingProxyType(
    {
        "coverage": coverage,
        "calibrators": compared_calibrators,
        "near_and_far": near_and_far,
        "explanations": explanations,
        "small_sets": few_images,
    }
)
