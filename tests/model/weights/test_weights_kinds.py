"""Files that are no weights are called what they are, whatever their names say."""

import gzip
import io
import json
import os
import pickle
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("torch")

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from model.architecture.family import get_architecture
from model.weights.file import WeightsError, read_weights
from model.weights.loading import match_weights
from tests.model.published import cifar_resnet

SUFFIXES = ("pth", "pt", "bin", "ckpt", "safetensors")
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0d71\nsize 46830571\n"


def _zip(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return buffer.getvalue()


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("weights.pth"))
    return buffer.getvalue()


def _numpy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


def _saved(content: object, **options: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def _script() -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(nn.Linear(1, 1)), buffer)
    return buffer.getvalue()


INDEX = json.dumps({"weight_map": {"conv1.weight": "model-00001-of-00002.safetensors"}})
KINDS: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "it is empty. Download it again"),
    "pointer": (lambda: POINTER, r"a Git LFS pointer of \d+ bytes.*`git lfs pull`"),
    "page": (lambda: b"\n<!DOCTYPE html><html><title>404</title>", r"a web page .* not the page"),
    "bare page": (lambda: b"<HTML><body>Sign in</body>", "a web page"),
    "xml": (lambda: b'<?xml version="1.0"?><Error><Code>AccessDenied', "a web page"),
    "hdf5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5 file, as Keras writes"),
    "keras": (
        lambda: _zip("metadata.json", "config.json", "model.weights.h5"),
        "model of Keras",
    ),
    "onnx": (lambda: b"\x08\x08\x12\x07pytorch\x1a\x032.0:\xb8\x02", "an ONNX model"),
    "saved model": (lambda: b"\x08\x01\x12\xf0\x01" + bytes(99), "SavedModel of TensorFlow"),
    "frozen graph": (lambda: b"\x0a\x21\x0a\x05input\x12\x0bPlaceholder", "a graph of TensorFlow"),
    "script": (_script, "a TorchScript program"),
    "exported": (lambda: _zip("m/archive_format", "m/models/model.json"), "`torch.export`"),
    "numpy": (_numpy, "a NumPy array"),
    "npz": (lambda: _zip("a.npy", "b.npy"), "NumPy arrays"),
    "zip": (lambda: _zip("weights/resnet.pth"), "a zip archive with weights/resnet.pth in it"),
    "tar": (_tar, "a tar archive. Unpack it"),
    "gzip": (lambda: gzip.compress(b"weights"), "a gzip archive. Unpack it"),
    "png": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(20), "a PNG image"),
    "index": (INDEX.encode, r"a list of shards .* such as model-00001-of-00002\.safetensors"),
    "json": (lambda: b'{"error": "Repository not found"}', "a file of JSON"),
    "text": (lambda: b"not a checkpoint at all", "a file of text"),
    "cut zip": (lambda: _saved(cifar_resnet(3))[:50_000], "cut short or damaged. Download"),
    "cut safetensors": (lambda: save(cifar_resnet(3))[:50_000], r"[\d,]+ bytes are missing"),
    "pickle": (
        lambda: pickle.dumps({"conv1.weight": [1.0]}),
        "a pickle that `torch.save` did not write",
    ),
    "network": (lambda: _saved(nn.Linear(1, 1)), r"whole network .*\(`torch.nn.modules.linear"),
    "list": (lambda: _saved([torch.zeros(1)]), "holds a list"),
    "tensor": (lambda: _saved(torch.zeros(1)), "holds a Tensor"),
    "numbers": (lambda: _saved({"epoch": 3, "acc": 0.5}), "it has the keys epoch, acc"),
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_file_of_another_kind_is_called_what_it_is(kind: str, tmp_path: Path) -> None:
    make, message = KINDS[kind]
    content = make()

    for suffix in SUFFIXES:
        path = tmp_path / f"weights.{suffix}"
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=message) as refused:
            read_weights(path)
        assert "\n" not in str(refused.value)
        assert "weights_only" not in str(refused.value)


def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "best.ckpt").touch()

    with pytest.raises(WeightsError, match="no regular file, but a pipe"):
        read_weights(tmp_path / "pipe.pth")
    with pytest.raises(WeightsError, match=r"a folder\. Name .*run/checkpoints/best\.ckpt"):
        read_weights(tmp_path / "run")
    with pytest.raises(WeightsError, match="There are no weights"):
        read_weights(tmp_path / "none.pth")
    with pytest.raises(WeightsError, match="Not a directory"):
        read_weights(tmp_path / "run" / "checkpoints" / "best.ckpt" / "x.pth")


def test_files_of_older_versions_of_torch_are_read(tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    path.write_bytes(_saved({"fc.bias": torch.ones(2)}, _use_new_zipfile_serialization=False))

    assert torch.equal(read_weights(path)["fc.bias"], torch.ones(2))


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_spoiled_bytes_end_in_a_refusal_and_never_in_another_error(
    form: str, tmp_path: Path
) -> None:
    state = {key: cifar_resnet(3)[key] for key in ("conv1.weight", "bn1.weight", "linear.weight")}
    whole = {
        "zip": lambda: _saved({"state_dict": state}),
        "legacy": lambda: _saved({"net": state}, _use_new_zipfile_serialization=False),
        "safetensors": lambda: save(state),
    }[form]()
    draw = np.random.default_rng(0)
    path = tmp_path / "weights.pth"
    for spoilt in (1, 4, 40) * 25:
        spoiled = bytearray(whole)
        for _ in range(spoilt):
            spoiled[int(draw.integers(min(len(whole), 3000)))] = int(draw.integers(256))
        end = len(spoiled) if spoilt == 4 else int(draw.integers(len(spoiled)))
        path.write_bytes(spoiled[:end])
        with suppress(WeightsError):
            match_weights(get_architecture("resnet20"), read_weights(path))
