"""What the activation maps say: deletion and insertion curves, beside orders that know nothing.

    python -m benchmarks.explanations ARTIFACT [--data FOLDER] [--images 1000]

Cells of the map are covered one after another, the highest first, and the probability of the
label is watched: the area under that curve is small if the map names what the network needs.
Insertion begins with everything covered; its area is large. Both are compared with two random
orders: of any cells, and of equally bright ones. The latter is the fair one, as a map likes
bright places, and covering a black cell with black changes nothing.

Source:
    Petsiuk et al., "RISE: Randomized Input Sampling for Explanation of Black-box Models", 2018
    (arXiv 1806.07421).
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from benchmarks.arguments import SHIPPED, ArtifactFolder
from benchmarks.process import write_result
from model.artifact.folder import read
from model.cli import script
from training.data.dataset import sample
from training.data.open import read_dataset
from training.evaluation.predict import onnx_outputs, onnx_session

STEPS = 20
"""Of a curve, beside its begin."""
BINS = 6
"""Of brightness, within an image: cells of one bin are equally bright."""
TENTH = 0.1
Images = NDArray[np.uint8]
Cells = NDArray[np.intp]
"""Cells of each image, in an order: (N, h * h)."""


def equally_bright(order: Cells, brightness: NDArray[np.float64], seed: int = 0) -> Cells:
    """Exchange the cells of an order at random for others as bright, within each image.

    Args:
        order: (N, M).
        brightness: Of the cells, in their usual order, (N, M).
        seed: Of the exchange.
    """
    rng = np.random.default_rng(seed)
    ranks = np.argsort(np.argsort(brightness, axis=1, kind="stable"), axis=1)
    bins = ranks * BINS // brightness.shape[1]
    exchanged = order.copy()
    for row, its in enumerate(order):
        for each in range(BINS):
            places = np.flatnonzero(bins[row, its] == each)
            exchanged[row, places] = rng.permutation(its[places])
    return exchanged


def covered(images: Images, order: Cells, first: int, last: int, fill: Images) -> Images:
    """Cover the cells from one place of the order to another.

    Args:
        images: uint8 (N, S, S, C).
        order: (N, h * h).
        first: Place of the first cell.
        last: Place behind the last one.
        fill: Of each channel, (C,).
    """
    count, cells = order.shape
    grid, side = round(cells**0.5), images.shape[1]
    is_covered = np.zeros((count, cells), bool)
    np.put_along_axis(is_covered, order[:, first:last], True, axis=1)
    of_pixel = np.arange(side) * grid // side  # a pixel belongs to the cell its centre lies in
    mask = is_covered.reshape(count, grid, grid)[:, of_pixel][:, :, of_pixel]
    return np.where(mask[..., None], fill, images).astype(np.uint8)


class Model:
    """An artifact's float32 graph."""

    def __init__(self, artifact: Path) -> None:
        self._session = onnx_session(read(artifact).model("float32"), threads=1)

    def maps(self, images: Images) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Return the map of the likeliest label (N, h * h), and the label (N,)."""
        found = onnx_outputs(self._session, torch.from_numpy(images), ("maps", "probabilities"))
        maps = found["maps"].double().numpy()
        first = maps[:, 0] if maps.ndim == 4 else maps  # earlier artifacts have one map
        return first.reshape(len(images), -1), found["probabilities"].argmax(1).numpy()

    def probability(self, images: Images, labels: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the probability of a label of each image, (N,)."""
        found = onnx_outputs(self._session, torch.from_numpy(images), ("probabilities",))
        own: NDArray[np.float64] = found["probabilities"].double().numpy()
        return own[np.arange(len(labels)), labels]


def measure(model: Model, images: Images, fill: Images) -> dict[str, dict[str, float]]:
    """Measure the map's order and the two random ones, with one fill."""
    maps, labels = model.maps(images)
    count, cells = maps.shape
    grid, side = round(cells**0.5), images.shape[1]
    of_pixel = np.eye(grid)[np.arange(side) * grid // side]  # (S, h)
    light = images.astype(np.float64).mean(3)
    sums = np.einsum("nij,ia,jb->nab", light, of_pixel, of_pixel, optimize=True)
    by_map = np.argsort(-maps, axis=1, kind="stable")
    chance = np.argsort(np.random.default_rng(0).random(maps.shape), axis=1)
    orders = {
        "map": by_map,
        "random": chance,
        "equally bright": equally_bright(by_map, sums.reshape(count, cells)),
    }
    whole = model.probability(images, labels)
    found = {}
    for name, order in orders.items():
        ends = np.linspace(0, cells, STEPS + 1).round().astype(int)
        deleted = [model.probability(covered(images, order, 0, end, fill), labels) for end in ends]
        inserted = [
            model.probability(covered(images, order, end, cells, fill), labels) for end in ends
        ]
        tenth = covered(images, order, 0, max(1, int(cells * TENTH)), fill)
        fall = whole - model.probability(tenth, labels)
        found[name] = {
            "deletion area": float(np.trapezoid(np.mean(deleted, axis=1), dx=1 / STEPS)),
            "insertion area": float(np.trapezoid(np.mean(inserted, axis=1), dx=1 / STEPS)),
            "fall, tenth covered": float(fall.mean()),
            "its standard error": float(fall.std() / count**0.5),
        }
    return found


def main(
    artifact: ArtifactFolder = SHIPPED,
    data: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Default: Fashion-MNIST.")
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="Of the test split.")] = 1_000,
) -> None:
    """Print a table, and write the result."""
    manifest = read(artifact).manifest
    dataset = read_dataset(data, manifest.input.size, splits=("test",))
    chosen = sample(dataset.splits[dataset.measuring], images).images.numpy()
    mean = np.array(manifest.preprocessing.mean) * 255
    fills = {"black": np.zeros(len(mean), np.uint8), "mean": mean.round().astype(np.uint8)}
    model = Model(artifact)
    measured = {name: measure(model, chosen, fill) for name, fill in fills.items()}
    columns = list(measured["black"]["map"])
    typer.echo(f"| covered with | order | {' | '.join(columns)} |")
    typer.echo(f"| --- | --- |{' --- |' * len(columns)}")
    for fill, by_order in measured.items():
        for order, figures in by_order.items():
            cells = " | ".join(f"{figures[column]:.3f}" for column in columns)
            typer.echo(f"| {fill} | {order} | {cells} |")
    about = {"dataset": dataset.name, "images": len(chosen), "artifact": str(artifact)}
    name = f"explanations-{dataset.name}"
    typer.echo(str(write_result(name, {**about, "fills": measured})))


if __name__ == "__main__":
    script(main)()
