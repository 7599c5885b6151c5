from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime as ort
import pytest

from model.artifact import Artifact, read
from model.manifest import Manifest, Precision
from model.preprocessing import Pixels
from service.engine import Engine, usable_cores
from service.errors import InferenceFailedError, StartError
from tests.service import graphs
from tests.service.conftest import SHIPPED
from tests.service.onnx_writer import FLOAT, UINT8, Border
from tests.service.pictures import fashion_pictures

MakeManifest = Callable[[Mapping[Precision, bytes]], Manifest]
LoadEngine = Callable[..., Engine]

NO_CUDA = "CUDAExecutionProvider" not in ort.get_available_providers()


def filled(*values: int) -> Pixels:
    """Pictures of one grey each: uint8 (N, 4, 4, 1)."""
    return np.array(values, np.uint8)[:, None, None, None].repeat(4, 1).repeat(4, 2)


@pytest.fixture
def load_engine(make_manifest: MakeManifest) -> LoadEngine:
    """Load a hand-made model."""

    def load(
        model: bytes = graphs.plain(), provider: Literal["auto", "cpu"] = "cpu", threads: int = 1
    ) -> Engine:
        manifest = make_manifest({"float32": model or b"nothing"})
        return Engine(model, manifest, "float32", provider, "require", threads)

    return load


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return read(SHIPPED)


@pytest.fixture(scope="module")
def engine(artifact: Artifact) -> Engine:
    return Engine(artifact.model("float32"), artifact.manifest, "float32", "cpu", threads=1)


# run


def test_a_run_computes_the_graph_for_each_picture(load_engine: LoadEngine) -> None:
    shades = np.array([0, 51, 255], np.float32)

    outputs = load_engine().run(filled(0, 51, 255))

    expected = 16 * 0.1 * shades / 255  # sixteen pixels, weights of -0.1 and 0.1
    np.testing.assert_allclose(outputs.logits, np.stack([-expected, expected], 1), atol=1e-6)
    bright = 1 / (1 + np.exp(-2 * expected))
    np.testing.assert_allclose(outputs.probabilities, np.stack([1 - bright, bright], 1), atol=1e-6)


def test_the_shipped_model_knows_what_it_sees(engine: Engine) -> None:
    images, targets = fashion_pictures()

    predicted = engine.run(images[:100, ..., None]).probabilities.argmax(1)

    assert (predicted == targets[:100]).mean() > 0.85


def test_an_answer_does_not_depend_on_who_else_rides(engine: Engine) -> None:
    images = fashion_pictures()[0][:16, ..., None]

    together = engine.run(images).probabilities
    alone = np.concatenate([engine.run(image[None]).probabilities for image in images])

    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_probabilities_are_a_softmax_of_the_tempered_logits(
    engine: Engine, artifact: Artifact
) -> None:
    outputs = engine.run(fashion_pictures()[0][:8, ..., None])

    scores = np.exp(outputs.logits.astype(float) / artifact.manifest.temperature)
    expected = scores / scores.sum(1, keepdims=True)

    np.testing.assert_allclose(outputs.probabilities, expected, atol=1e-5)


def test_a_run_that_fails_says_so_and_the_next_one_runs(load_engine: LoadEngine) -> None:
    engine = load_engine(graphs.fails_on_grey())

    with pytest.raises(InferenceFailedError, match="failed on a batch of 2"):
        engine.run(filled(0, 128))

    assert len(engine.run(filled(0, 255)).logits) == 2


def test_a_picture_of_another_shape_fails(load_engine: LoadEngine) -> None:
    with pytest.raises(InferenceFailedError):
        load_engine().run(np.zeros((1, 5, 5, 1), np.uint8))


def test_a_model_that_drops_pictures_is_found_out(load_engine: LoadEngine) -> None:
    engine = load_engine(graphs.one_row())

    assert len(engine.run(filled(255)).logits) == 1
    with pytest.raises(InferenceFailedError, match="1 answers for a batch of 3"):
        engine.run(filled(0, 0, 0))


def test_warm_up_runs_every_size(load_engine: LoadEngine) -> None:
    engine = load_engine(graphs.one_row())

    engine.warm_up((1, 1))
    with pytest.raises(InferenceFailedError):
        engine.warm_up((1, 32))


# What the file must look like


@pytest.mark.parametrize(
    "model",
    [
        graphs.plain(images=Border("images", UINT8, ("n", 4, 2, 2))),
        graphs.plain(images=Border("images", UINT8, ("n", "side", "side", 1))),
        graphs.plain(images=Border("images", UINT8, (1, 4, 4, 1))),
        graphs.plain(images=Border("images", FLOAT, ("n", 4, 4, 1))),
        graphs.plain(batch=8),
        graphs.plain(labels=3),
        graphs.plain(name="scores"),
        graphs.double(),
    ],
    ids=["channels", "sides", "batch in", "float", "batch out", "labels", "name", "double"],
)
def test_a_model_with_another_border_is_refused(model: bytes, load_engine: LoadEngine) -> None:
    with pytest.raises(StartError, match=r"inputs and outputs are .* and must be") as refused:
        load_engine(model)

    assert str(refused.value).isprintable()


@pytest.mark.parametrize("model", [b"", b"not a model", graphs.plain()[:-100]])
def test_bytes_that_are_no_model_are_refused_in_one_line(
    model: bytes, load_engine: LoadEngine
) -> None:
    with pytest.raises(StartError, match="onnxruntime cannot load the model") as refused:
        load_engine(model)

    assert str(refused.value).isprintable()


# The golden answers


def test_the_golden_answers_come_out(engine: Engine, artifact: Artifact) -> None:
    engine.check_golden(artifact.golden_images())


@pytest.mark.parametrize(
    ("model", "cause"),
    [
        (graphs.swapped(), "1 of 1 golden answers another label"),
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


# Providers


@pytest.mark.skipif(not NO_CUDA, reason="onnxruntime here may find CUDA")
def test_cuda_that_is_not_there_is_refused_in_one_line(make_manifest: MakeManifest) -> None:
    model = graphs.plain()

    with pytest.raises(StartError, match=r"CUDA was asked for .* RESNET_PROVIDER=cpu") as refused:
        Engine(model, make_manifest({"float32": model}), "float32", "cuda", "require", 1)

    assert str(refused.value).isprintable()


@pytest.mark.skipif(not NO_CUDA, reason="onnxruntime here may find CUDA")
@pytest.mark.parametrize(
    ("provider", "policy"), [("cuda", "prefer"), ("auto", "require"), ("auto", "prefer")]
)
def test_the_engine_says_that_it_runs_on_the_cpu_where_there_is_no_cuda(
    provider: Literal["auto", "cuda"],
    policy: Literal["require", "prefer"],
    make_manifest: MakeManifest,
) -> None:
    model = graphs.plain()

    engine = Engine(model, make_manifest({"float32": model}), "float32", provider, policy, 1)

    assert engine.provider == "cpu"
    engine.check_golden(filled(255))


# Threads


def quota(folder: Path, files: Mapping[str, str]) -> Path:
    """A folder like /sys/fs/cgroup."""
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu.max": "6400000 100000\n"}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "100000 0\n"}, 8),
        ({"cpu.max": "\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000\n"}, 8),
        ({}, 8),
    ],
)
def test_cores_are_the_affinitys_cut_by_the_cgroups_quota(
    files: Mapping[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))

    assert usable_cores(quota(tmp_path, files)) == cores


@pytest.mark.parametrize(("counted", "cores"), [(6, 6), (None, 1)])
def test_cores_are_counted_where_there_is_no_affinity(
    counted: int | None, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: counted)

    assert usable_cores(tmp_path) == cores


def test_threads_are_as_many_as_said_or_as_there_are_cores(load_engine: LoadEngine) -> None:
    assert load_engine(threads=3).threads == 3
    assert load_engine(threads=0).threads == usable_cores()
