"""Which files the engine loads, on which provider and on how many threads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import onnxruntime as ort
import pytest

from service.cpus import usable_cores
from service.errors import StartError
from service.inference.engine import Engine
from tests.conftest import MakeManifest
from tests.service import graphs
from tests.service.conftest import LoadEngine
from tests.service.images import filled
from tests.service.onnx_writer import FLOAT, UINT8, TensorInfo

NO_CUDA = "CUDAExecutionProvider" not in ort.get_available_providers()


# What the file must be


@pytest.mark.parametrize(
    "model",
    [
        graphs.plain(images=TensorInfo("images", UINT8, ("n", 4, 2, 2))),
        graphs.plain(images=TensorInfo("images", UINT8, ("n", "side", "side", 1))),
        graphs.plain(images=TensorInfo("images", UINT8, (1, 4, 4, 1))),
        graphs.plain(images=TensorInfo("images", FLOAT, ("n", 4, 4, 1))),
        graphs.plain(batch=8),
        graphs.plain(labels=3),
        graphs.plain(name="scores"),
        graphs.double(),
    ],
    ids=["channels", "sides", "batch in", "float", "batch out", "labels", "name", "double"],
)
def test_a_model_with_another_signature_is_refused(model: bytes, load_engine: LoadEngine) -> None:
    with pytest.raises(StartError, match=r"inputs and outputs are .* but must be") as refused:
        load_engine(model)

    assert str(refused.value).isprintable()


@pytest.mark.parametrize("model", [b"", b"not a model", graphs.plain()[:-100]])
def test_bytes_that_are_no_model_are_refused_in_one_line(
    model: bytes, load_engine: LoadEngine
) -> None:
    with pytest.raises(StartError, match="onnxruntime cannot load the model") as refused:
        load_engine(model)

    assert str(refused.value).isprintable()


# Providers


@pytest.mark.skipif(not NO_CUDA, reason="onnxruntime here may find CUDA")
def test_cuda_that_is_not_there_is_refused_in_one_line(make_manifest: MakeManifest) -> None:
    model = graphs.plain()

    with pytest.raises(StartError, match=r"cannot use CUDA.* RESNET_PROVIDER=cpu") as refused:
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


@pytest.mark.parametrize(("at_most", "cores"), [(0, 3), (2, 2), (5, 3)])
def test_cores_are_no_more_than_the_setting_says(
    at_most: int, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(3)))

    assert usable_cores(tmp_path, at_most=at_most) == cores


def test_threads_are_as_many_as_said_or_as_there_are_cores(load_engine: LoadEngine) -> None:
    assert load_engine(threads=3).threads == 3
    assert load_engine(threads=0).threads == usable_cores()
