"""From a folder as people have them, mixed and partly broken, to an answer over HTTP."""

import io
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from PIL import Image

from service.app import create_app
from service.settings import read_settings
from tests.conftest import Command
from tests.in_process import ask, get, post
from training.cli.main import evaluate_script, export_script, train_script

KINDS = ("RGB", "L", "CMYK", "P", "turned")
EACH = 40
"""Images of a label, of which every twentieth is broken."""
ORIENTATION = 0x0112
SETTINGS = ("epochs=3", "batch_size=8", "image_size=28", "learning_rate=0.003", "precision=float32")


def _image(label: str, kind: str, generator: np.random.Generator) -> bytes:
    """A file whose upper or lower half is bright, as a camera or a scanner would write it."""
    width, height = generator.integers(24, 70, 2)
    pixels = generator.integers(0, 60, (height, width, 3))
    half = slice(None, height // 2) if label == "above" else slice(height // 2, None)
    pixels[half] += np.array([180, 150, 120])
    image = Image.fromarray(pixels.astype(np.uint8))
    file = io.BytesIO()
    if kind == "P":
        image.quantize(32).save(file, "PNG")
    elif kind == "turned":  # stored upside down, and said to be
        exif = Image.Exif()
        exif[ORIENTATION] = 3
        image.rotate(180).save(file, "JPEG", quality=90, exif=exif)
    else:
        image.convert(kind).save(file, "JPEG", quality=90)
    return file.getvalue()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for label in ("above", "below"):
        folder = tmp_path / "images" / label
        folder.mkdir(parents=True)
        for number in range(EACH):
            kind = KINDS[number % len(KINDS)]
            content = _image(label, kind, generator)
            if number % 20 == 7:
                content = content[: len(content) // 3]
            suffix = "png" if kind == "P" else "JPG"
            (folder / f"{number:02} {kind}.{suffix}").write_bytes(content)
    return tmp_path / "images"


def test_a_mixed_and_partly_broken_folder_becomes_a_service_that_answers(
    command: Command, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, artifact = tmp_path / "run", tmp_path / "artifacts/halves/1"
    options = [part for setting in SETTINGS for part in ("--set", setting)]
    where = ("--recipe", "baseline", "--data", images, "--out", run)

    trained = command(train_script, *where, *options)
    evaluated = command(evaluate_script, run)
    exported = command(export_script, run, "--out", artifact, "--precision", "float32")

    assert trained.code == evaluated.code == exported.code == 0, exported.err
    assert "left out:" in trained.out
    assert "61 + 7 + 8 images to train, validate and test, 2 labels, 28 x 28 x 3" in trained.out
    assert "8 test images" in evaluated.out
    monkeypatch.setenv("RESNET_ARTIFACT", str(artifact))
    generator = np.random.default_rng(1)
    cases = [
        (label, _image(label, kind, generator)) for kind in KINDS for label in ("above", "below")
    ]
    requests = [post("/predict?top_k=1", content) for _, content in cases]
    for request in requests:
        request.headers["content-type"] = "application/octet-stream"
    ready, *answers = ask(create_app(read_settings()), get("/readyz"), *requests)
    assert ready.status_code == 200
    for (label, _), answer in zip(cases, answers, strict=True):
        assert answer.status_code == 200, answer.text
        assert answer.json()["results"][0]["predictions"][0]["label"] == label
