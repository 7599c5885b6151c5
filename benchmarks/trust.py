"""The manifest's figures, measured anew over HTTP.

Nothing is read but what the service answers over HTTP: each image goes out as a PNG file,
and the figures are computed here in NumPy. Without --url the artifact is served once in each
of its precisions; the first is float32, and the others are compared with it. Ends with 1 if a
goal is missed.

    python -m benchmarks.trust [ARTIFACT] [--url URL] [--data FOLDER] [--images 2000]
"""

import base64
import io
import json
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from benchmarks.arguments import SHIPPED, ArtifactFolder
from benchmarks.figures import (
    area_under_curve,
    cover,
    error_of_honest_answers,
    expected_calibration_error,
    highest,
)
from benchmarks.process import ours, serving, write_result
from model.artifact.folder import read
from model.cli import script
from training.data.fashion_mnist import read_fashion_mnist

Images = NDArray[np.uint8]
A_REQUEST = 50
EXPLAINED = 1_000
COVERAGES = (0.90, 0.95, 0.99)
TENTH = 0.1
DARK = 20
"""Mean value of a cell, of 255, up to which it counts as black."""


@dataclass(frozen=True)
class Samples:
    """Images of the test split with their labels, and OOD images; uint8 (N, S, S)."""

    images: Images
    targets: NDArray[np.int64]
    ood: dict[str, Images]


def prepare(folder: Path | None, count: int, seed: int) -> Samples:
    """Draw images of the test split, and make OOD images."""
    test, rng = read_fashion_mnist(folder).test, np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(test))[:count])
    images, targets = test.images.numpy()[chosen, :, :, 0], test.targets.numpy()[chosen]
    digits = (load_digits().images * (255 / 16)).round().astype(np.uint8)
    noise = rng.integers(0, 256, images[:2_000].shape, dtype=np.uint8)
    return Samples(images, targets, {"digits": digits, "noise": noise})


def ask(url: str, images: Images, query: str) -> Iterator[dict[str, Any]]:
    """Send images, some a request, and give the results one by one.

    Raises:
        OSError: If the service cannot be reached or refuses.
    """
    for start in range(0, len(images), A_REQUEST):
        files = [_png(image) for image in images[start : start + A_REQUEST]]
        body = json.dumps({"images": [base64.b64encode(file).decode() for file in files]})
        request = urllib.request.Request(  # noqa: S310  # the address is the user's own
            f"{url}/predict?top_k=1000&{query}",
            body.encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            yield from json.load(answer)["results"]


def _png(image: Images) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def measure(url: str, samples: Samples) -> tuple[dict[str, float], NDArray[np.int64]]:
    """Ask about everything, and draw up the figures; the top labels come with them."""
    results = list(ask(url, samples.images, ""))
    first = [result["predictions"][0] for result in results]
    top = np.array([best["index"] for best in first])
    confidence = np.array([best["probability"] for best in first])
    right = top == samples.targets
    figures = {
        "top-1 %": 100 * float(right.mean()),
        "ECE, points": 100 * expected_calibration_error(confidence, right),
        "ECE if perfectly calibrated, points": 100 * error_of_honest_answers(confidence),
    }
    for wanted in COVERAGES:
        sets = [
            {one["index"] for one in result["prediction_set"]}
            for result in ask(url, samples.images, f"coverage={wanted}")
        ]
        covered = [truth in chosen for truth, chosen in zip(samples.targets, sets, strict=True)]
        figures[f"coverage at {wanted} %"] = 100 * float(np.mean(covered))
    scores = _scores(results)
    for name, images in samples.ood.items():
        figures[f"AUROC {name}"] = area_under_curve(scores, _scores(ask(url, images, "")))
    figures["flagged, test split %"] = 100 * _flagged(results)
    return {**figures, **_explanations(url, samples.images[:EXPLAINED])}, top


def _scores(results: Sequence[dict[str, Any]] | Iterator[dict[str, Any]]) -> NDArray[np.float64]:
    return np.array([result["score"] for result in results])


def _flagged(results: Sequence[dict[str, Any]]) -> float:
    return float(np.mean([not result["in_distribution"] for result in results]))


def _explanations(url: str, images: Images) -> dict[str, float]:
    """Hold maps against logits, and see what covering their top tenth does.

    Beside a random tenth of all cells, many of which are black anyway, is one of the cells
    that are not: the fairer comparison, and the harder one.
    """
    explained = list(ask(url, images, "explain=true"))
    said = [result["explanation"] for result in explained]
    maps = np.array([one["map"] for one in said])  # (N, h, h)
    logits = np.array([one["logit"] for one in said])
    biases = np.array([one["bias"] for one in said])
    best = [result["predictions"][0] for result in explained]
    chance = np.random.default_rng(0).random(maps.shape)
    side, cell = maps.shape[1], images.shape[1] // maps.shape[1]
    light = images.reshape(-1, side, cell, side, cell).mean((2, 4))
    lit = chance + (light > DARK)  # all lit cells before any dark one
    fallen = {}
    for name, order in (("top", maps), ("random", chance), ("random lit", lit)):
        covered = cover(images, highest(order, TENTH))
        drops = [
            one["probability"] - _probability(result, one["index"])
            for one, result in zip(best, ask(url, covered, ""), strict=True)
        ]
        fallen[name] = float(np.mean(drops))
    return {
        "largest difference of map and logit": float(
            np.abs(maps.mean((1, 2)) + biases - logits).max()
        ),
        "loss of probability, top tenth covered": fallen["top"],
        "loss of probability, random tenth covered": fallen["random"],
        "loss of probability, random bright cells covered": fallen["random lit"],
    }


def _probability(result: dict[str, Any], index: int) -> float:
    chances = {one["index"]: one["probability"] for one in result["predictions"]}
    return float(chances[index])


def missed(figures: dict[str, float]) -> list[str]:
    """Name the goals that a precision's figures miss."""
    goals = {
        "at most 0.2 points of top-1 lost": figures.get("loss of top-1, points", 0) <= 0.2 + 1e-9,
        "ECE under 1 point": figures["ECE, points"] < 1,
        "coverage within 1.5 points at 0.95": abs(figures["coverage at 0.95 %"] - 95) <= 1.5,
        "AUROC of at least 0.95": min(figures["AUROC digits"], figures["AUROC noise"]) >= 0.95,
        "the map's mean plus bias is the logit": figures["largest difference of map and logit"]
        <= 1e-4,
        "covering the top tenth costs more than a random tenth": (
            figures["loss of probability, top tenth covered"]
            > figures["loss of probability, random tenth covered"]
        ),
    }
    return [goal for goal, is_met in goals.items() if not is_met]


def main(
    artifact: ArtifactFolder = SHIPPED,
    url: Annotated[str | None, typer.Option(help="Of a service that runs already.")] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Fashion-MNIST's four files.")
    ] = None,
    images: Annotated[int, typer.Option(min=1)] = 2_000,
    seed: Annotated[int, typer.Option(help="Which images.")] = 0,
) -> None:
    """Measure every precision, print a table, and write the results; exit with 1 for a miss."""
    samples = prepare(data, images, seed)
    measured: dict[str, dict[str, float]] = {}
    if url:
        measured["as served"], _ = measure(url.rstrip("/"), samples)
    else:
        full: NDArray[np.int64] | None = None
        for precision in read(artifact).manifest.files:
            with serving(*ours(artifact=str(artifact), precision=precision)) as server:
                measured[precision], top = measure(server.url(""), samples)
            full = top if full is None else full
            measured[precision]["same label as float32 %"] = 100 * float((top == full).mean())
            float32 = measured["float32"]["top-1 %"]
            measured[precision]["loss of top-1, points"] = float32 - measured[precision]["top-1 %"]
    _print_table(measured)
    misses = {name: missed(figures) for name, figures in measured.items()}
    for name, goals in misses.items():
        print(f"{name}: {'missed: ' + '; '.join(goals) if goals else 'every goal met'}")
    if not url:
        about = {"artifact": str(artifact), "pictures": len(samples.images), "seed": seed}
        print(write_result(f"trust-{artifact.parent.name}", {**about, **measured}))
    raise typer.Exit(int(any(misses.values())))


def _print_table(measured: dict[str, dict[str, float]]) -> None:
    names = list(measured)
    print(f"| figure | {' | '.join(names)} |\n| --- |{' --- |' * len(names)}")
    for figure in measured[names[-1]]:
        print(f"| {figure} | {' | '.join(f'{measured[name][figure]:.4g}' for name in names)} |")


if __name__ == "__main__":
    script(main)()
