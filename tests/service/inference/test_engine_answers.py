"""What a run of the engine answers, golden answers included, and how it fails."""

import os
from pathlib import Path

import numpy as np
import pytest

from model.artifact.folder import Artifact, read
from service.errors import InferenceFailedError, StartError
from service.inference.engine import Engine
from tests.conftest import MakeManifest
from tests.service import graphs
from tests.service.conftest import SHIPPED, LoadEngine
from tests.service.images import fashion_images, filled


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return read(SHIPPED)


@pytest.fixture(scope="module")
def engine(artifact: Artifact) -> Engine:
    return Engine(artifact.model("float32"), artifact.manifest, "float32", "cpu", threads=1)


# run


def test_a_run_computes_the_graph_for_each_image(load_engine: LoadEngine) -> None:
    shades = np.array([0, 51, 255], np.float32)

    outputs = load_engine().run(filled(0, 51, 255))

    expected = 16 * 0.1 * shades / 255  # sixteen pixels, weights of -0.1 and 0.1
    np.testing.assert_allclose(outputs.logits, np.stack([-expected, expected], 1), atol=1e-6)
    bright = 1 / (1 + np.exp(-2 * expected))
    np.testing.assert_allclose(outputs.probabilities, np.stack([1 - bright, bright], 1), atol=1e-6)


def test_the_shipped_model_knows_what_it_sees(engine: Engine) -> None:
    images, targets = fashion_images()

    predicted = engine.run(images[:100, ..., None]).probabilities.argmax(1)

    assert (predicted == targets[:100]).mean() > 0.85


def test_an_answer_does_not_depend_on_the_rest_of_the_batch(engine: Engine) -> None:
    images = fashion_images()[0][:16, ..., None]

    together = engine.run(images).probabilities
    alone = np.concatenate([engine.run(image[None]).probabilities for image in images])

    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_the_shipped_models_probabilities_sum_to_one_and_follow_the_logits(
    engine: Engine,
) -> None:
    outputs = engine.run(fashion_images()[0][:100, ..., None])

    np.testing.assert_allclose(outputs.probabilities.sum(1), 1, atol=1e-5)
    assert (outputs.probabilities.argmax(1) == outputs.logits.argmax(1)).mean() >= 0.98


def test_a_run_that_fails_says_so_and_the_next_one_runs(load_engine: LoadEngine) -> None:
    engine = load_engine(graphs.fails_on_grey())

    with pytest.raises(InferenceFailedError, match="failed on a batch of 2"):
        engine.run(filled(0, 128))

    assert len(engine.run(filled(0, 255)).logits) == 2


def test_an_image_of_another_shape_fails(load_engine: LoadEngine) -> None:
    with pytest.raises(InferenceFailedError):
        load_engine().run(np.zeros((1, 5, 5, 1), np.uint8))


def test_a_model_that_drops_images_fails(load_engine: LoadEngine) -> None:
    engine = load_engine(graphs.one_row())

    assert len(engine.run(filled(255)).logits) == 1
    with pytest.raises(InferenceFailedError, match="1 answers for a batch of 3"):
        engine.run(filled(0, 0, 0))


# The golden answers


def test_the_golden_answers_come_out(engine: Engine, artifact: Artifact) -> None:
    engine.check_golden(artifact.golden_images())


@pytest.mark.parametrize(
    ("model", "cause"),
    [
        (graphs.swapped(), "1 of 1 golden answers a wrong label"),
        (graphs.nan_always(), "differ by nan"),
    ],
)
def test_a_model_that_answers_otherwise_is_refused(
    model: bytes, cause: str, load_engine: LoadEngine
) -> None:
    with pytest.raises(StartError, match=cause) as refused:
        load_engine(model).check_golden(filled(255))

    assert str(refused.value).isprintable()


@pytest.mark.parametrize(("shift", "is_refused"), [(0.5e-3, False), (2e-3, True)])
def test_golden_probabilities_may_differ_by_the_manifests_tolerance(
    shift: float, is_refused: bool, make_manifest: MakeManifest
) -> None:
    model = graphs.plain()
    manifest = make_manifest({"float32": model})
    (golden,) = manifest.golden
    dark, bright = golden.probabilities
    shifted = golden.model_copy(update={"probabilities": (dark + shift, bright - shift)})
    changed = manifest.model_copy(update={"golden": (shifted,)})
    engine = Engine(model, changed, "float32", "cpu", threads=1)

    if is_refused:
        with pytest.raises(StartError, match=r"0 of 1 .* differ by 0\.002 \(allowed: 0\.001\)"):
            engine.check_golden(filled(255))
    else:
        engine.check_golden(filled(255))


def test_memory_of_a_large_batch_is_returned_and_the_next_one_answers_the_same(
    engine: Engine,
) -> None:
    size, channels = engine.manifest.input.size, engine.manifest.input.channels
    images = np.random.default_rng(0).integers(0, 256, (64, size, size, channels), np.uint8)
    before = engine.run(images).probabilities
    taken = _resident_bytes()

    engine.shrink()

    assert taken - _resident_bytes() > 5_000_000
    np.testing.assert_allclose(engine.run(images[:8]).probabilities, before[:8], atol=1e-5)


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
