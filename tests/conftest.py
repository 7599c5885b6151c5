"""Fixtures that the tests of both sides share; importable where torch is not installed."""

import gzip
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from model.artifact.manifest import Manifest, Precision
from tests.manifests import build_manifest

if TYPE_CHECKING:
    from training.data.dataset import Dataset
    from training.fit.loop import Outcome
    from training.recipe.recipe import Recipe

# One thread: these networks are tiny, and OpenMP's threads wait for one another where other
# work keeps the cores busy. Read when torch is imported, here and in the commands we start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `training` sets it

DATA = Path(__file__).parent / "data"
FASHION_MNIST = DATA / "fashion-mnist"

MakeManifest = Callable[[Mapping[Precision, bytes]], Manifest]
"""Models by precision -> a manifest that fits them."""


@pytest.fixture(scope="session")
def tiny_onnx() -> bytes:
    """A whole servable graph of a few hundred bytes: uint8 (N, 4, 4, 1) -> 2 labels."""
    return (DATA / "tiny.onnx").read_bytes()


@pytest.fixture(scope="session")
def make_manifest() -> MakeManifest:
    """Describe models that answer as `tiny_onnx` does; figures are made up."""
    return build_manifest


@dataclass(frozen=True)
class Finished:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str


Command = Callable[..., Finished]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a console script with arguments, as the shell would, in this process."""

    def run(script: Callable[[], None], *arguments: object) -> Finished:
        monkeypatch.setattr("sys.argv", ["command", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            script()
        captured = capsys.readouterr()
        return Finished(int(ended.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def fashion() -> "Dataset":
    """480 + 120 + 300 images of Fashion-MNIST."""
    from training.data.fashion_mnist import read_fashion_mnist  # noqa: PLC0415  # needs torch

    return read_fashion_mnist(FASHION_MNIST, sha256=None)


@pytest.fixture(scope="session")
def small_fashion(fashion: "Dataset") -> "Dataset":
    """The same at 14 x 14 pixels, so that an epoch takes a fraction of a second."""
    from training.data.dataset import MemorySplit, Split  # noqa: PLC0415  # needs torch

    def halve(split: Split) -> Split:
        return MemorySplit(split.images[:, ::2, ::2].contiguous(), split.targets)

    spec = fashion.preprocessing.model_copy(update={"resize": 14, "crop": 14})
    return replace(
        fashion,
        preprocessing=spec,
        train=halve(fashion.train),
        validation=halve(fashion.validation),
        test=halve(fashion.test),
    )


@pytest.fixture(scope="session")
def small_recipe() -> "Recipe":
    """The default recipe, every feature on, cut down to three epochs of ten steps."""
    from training.recipe.presets import get_recipe  # noqa: PLC0415  # beside its users

    changes = ("epochs=3", "batch_size=48", "learning_rate=0.05", "ema_decay=0.5", "random_shift=1")
    return get_recipe("default", (*changes, "random_erasing=0.1", "precision=float32"))


@pytest.fixture(scope="session")
def trained(
    small_fashion: "Dataset", small_recipe: "Recipe", tmp_path_factory: pytest.TempPathFactory
) -> "Outcome":
    """A finished run, to be read only."""
    from training.fit.train import train  # noqa: PLC0415  # needs torch

    return train(small_fashion, small_recipe, tmp_path_factory.mktemp("run") / "trained", seed=3)


MakeImages = Callable[..., Path]


@pytest.fixture
def make_images(tmp_path: Path) -> MakeImages:
    """Save real images as `<root>/<label>/<n>.png`, so many for each label, `image_size` pixels."""

    def make(
        root: str = "images", labels: Mapping[str, int] | None = None, image_size: int = 28
    ) -> Path:
        images = np.frombuffer(
            gzip.decompress((FASHION_MNIST / "train-images-idx3-ubyte.gz").read_bytes()),
            np.uint8,
            offset=16,
        ).reshape(-1, 28, 28)
        position = 0
        for label, count in (labels or {"boot": 10, "coat": 10}).items():
            folder = tmp_path / root / label
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(count):
                image = Image.fromarray(images[position % len(images)])
                image.resize((image_size, image_size)).save(folder / f"{index}.png")
                position += 1
        return tmp_path / root

    return make
