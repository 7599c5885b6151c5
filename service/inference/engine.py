"""onnxruntime behind one method: uint8 images in, logits and probabilities out.

Before it is used, the engine checks that the file is the graph that the manifest promises,
that the provider is the one that was asked for, and that the golden answers come out. It knows
neither queues nor HTTP.
"""

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import Literal

import numpy as np
import onnxruntime as ort

from model.artifact.manifest import Manifest, Precision
from model.preprocessing import Pixels
from service.cpus import usable_cores
from service.errors import InferenceFailedError, OutOfMemoryError, StartError
from service.inference.cuda import run_with_io_binding
from service.inference.outputs import BatchOutputs

Provider = Literal["cpu", "cuda"]
PROVIDERS: dict[str, Provider] = {"CPUExecutionProvider": "cpu", "CUDAExecutionProvider": "cuda"}
CUDA_OPTIONS = {
    "cudnn_conv_algo_search": "HEURISTIC",  # EXHAUSTIVE would tune anew for each batch size
    "use_tf32": "0",  # ten bits of mantissa would break parity with the golden answers
}

REQUIRED = ("logits", "probabilities")
OPTIONAL_OUTPUTS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {"score": (1,), "features": (2,), "maps": (3, 4)}
)
"""Outputs of floats that a graph may have, with the numbers of dimensions that they may have.

Maps of three dimensions are of the top label alone, in earlier artifacts.
"""
OUT_OF_MEMORY = re.compile(r"bad.alloc|failed to allocate memory|out of memory|ALLOC_FAILED", re.I)
"""What onnxruntime's errors say, which have no class for it: C++, its arena, CUDA, cuBLAS."""


class Engine:
    """A loaded and checked model. `run` may be called from several threads at once.

    Args:
        model: The ONNX file's bytes, checked against the manifest.
        manifest: What they should be.
        precision: Which of the manifest's files it is.
        provider: `auto` takes CUDA where it is really there.
        policy: What to do if CUDA was asked for and is not there.
        threads: That compute, the calling one included; runs side by side share the others.
            0 means as many as cores that this process may use. On CUDA there is one.
        device_id: Of the GPU, if it runs on one.

    Raises:
        StartError: If the model cannot be loaded or is not what the manifest says.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # each is a setting of its own
        self,
        model: bytes,
        manifest: Manifest,
        precision: Precision,
        provider: Literal["auto", "cpu", "cuda"] = "auto",
        policy: Literal["require", "prefer"] = "require",
        threads: int = 0,
        device_id: int = 0,
    ) -> None:
        self.manifest = manifest
        self.precision = precision
        self.threads = threads or usable_cores()
        self._session = _load(model, _wanted(provider, device_id), self.threads)
        self.provider = PROVIDERS[self._session.get_providers()[0]]
        self._run_session = self._session.run
        if self.provider == "cuda":  # pragma: no cover  # see service.inference.cuda
            self.threads = 1
            self._run_session = partial(run_with_io_binding, self._session)
        if provider == "cuda" and self.provider != "cuda" and policy == "require":
            raise StartError(
                "RESNET_PROVIDER is cuda, but onnxruntime cannot use CUDA. Install "
                "the `gpu` extra and NVIDIA's driver, or set RESNET_PROVIDER=cpu or "
                "RESNET_PROVIDER_POLICY=prefer."
            )
        self._check_signature()
        available = {node.name for node in self._session.get_outputs()}
        self.optional: frozenset[str] = frozenset(OPTIONAL_OUTPUTS) & available

    def run(self, images: Pixels, outputs: Collection[str] = ()) -> BatchOutputs:
        """Run a batch: uint8 (N, S, S, C) -> logits, probabilities (N, K), and score.

        Args:
            images: The batch.
            outputs: Optional outputs that a request in the batch wants: `maps`, `features`.

        Raises:
            InferenceFailedError: If onnxruntime fails, or answers another number of images.
            OutOfMemoryError: If it gets no memory.
        """
        wanted = [*REQUIRED, *({"score", *outputs} & self.optional)]
        try:
            arrays = self._run_session(wanted, {"images": images})
        except Exception as error:  # onnxruntime's own classes share no base
            if isinstance(error, MemoryError) or OUT_OF_MEMORY.search(str(error)):
                raise OutOfMemoryError from error
            raise InferenceFailedError(
                f"The engine failed on a batch of {len(images)}. The service continues; try again."
            ) from error
        if any(len(array) != len(images) for array in arrays):
            raise InferenceFailedError(
                f"The engine gave {len(arrays[0])} answers for a batch of {len(images)}."
            )
        found = dict(zip(wanted, arrays, strict=True))
        if "maps" in found and found["maps"].ndim == 3:
            found["maps"] = found["maps"][:, None]
        return BatchOutputs(**found)

    def check_golden(self, images: Pixels) -> None:
        """Give the manifest's golden answers again, on the provider that will serve.

        Args:
            images: The golden images, uint8 (N, S, S, C).

        Raises:
            StartError: If an answer differs by more than the manifest allows.
        """
        golden = self.manifest.golden
        actual = self.run(images).probabilities
        expected = np.array([answer.probabilities for answer in golden], np.float32)
        error = float(np.abs(actual - expected).max())
        tolerance = self.manifest.files[self.precision].golden_tolerance
        wrong = int((actual.argmax(1) != [answer.top1 for answer in golden]).sum())
        if not error <= tolerance or wrong:  # `not <=` also stops a NaN
            raise StartError(
                f"The {self.precision} model gives {wrong} of {len(golden)} golden "
                f"answers a wrong label, and probabilities that differ by {error:.2g} "
                f"(allowed: {tolerance:.2g}): the provider {self.provider} computes "
                "other results than at export."
            )

    def shrink(self) -> None:
        """Return to the system what the largest batches took; a later one takes it again.

        On a CPU only: a GPU's memory is the service's own.
        """
        if self.provider != "cpu":  # pragma: no cover
            return
        size, channels = self.manifest.input.size, self.manifest.input.channels
        images = np.zeros((1, size, size, channels), np.uint8)
        options = ort.RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        with suppress(Exception):  # a build without an arena, which keeps nothing
            self._session.run(REQUIRED, {"images": images}, options)

    def _check_signature(self) -> None:
        """Compare the session's real inputs and outputs with what the manifest promises."""
        size, channels = self.manifest.input.size, self.manifest.input.channels
        classes = len(self.manifest.labels)
        expected = {
            "images": ("tensor(uint8)", [size, size, channels]),
            "logits": ("tensor(float)", [classes]),
            "probabilities": ("tensor(float)", [classes]),
        }
        nodes = [*self._session.get_inputs(), *self._session.get_outputs()]
        optional = {
            node.name: (node.type, len(node.shape))
            for node in nodes
            if node.name in OPTIONAL_OUTPUTS
        }
        actual = {
            node.name: (node.type, list(node.shape[1:]))
            for node in nodes
            if node.name not in optional
        }
        fixed = [node.name for node in nodes if isinstance(node.shape[0], int)]
        wrong = {
            name: (kind, dimensions)
            for name, (kind, dimensions) in optional.items()
            if kind != "tensor(float)" or dimensions not in OPTIONAL_OUTPUTS[name]
        }
        if actual != expected or fixed or wrong:
            raise StartError(
                f"The model's inputs and outputs are {actual | wrong}, but must be "
                f"{expected}, each with a variable batch size. Export it again with "
                "`export-model`."
            )


def has_cuda_build() -> bool:
    """Tell whether this onnxruntime was built for CUDA; whether CUDA works shows later."""
    return "CUDAExecutionProvider" in ort.get_available_providers()


def _wanted(
    provider: Literal["auto", "cpu", "cuda"], device_id: int
) -> list[str | tuple[str, dict[str, str]]]:
    """List the providers to try; onnxruntime falls back silently, so the caller checks."""
    names: list[str | tuple[str, dict[str, str]]] = ["CPUExecutionProvider"]
    if provider != "cpu" and has_cuda_build():
        ort.preload_dlls()  # pragma: no cover  # finds the CUDA libraries of the pip wheels
        options = {**CUDA_OPTIONS, "device_id": str(device_id)}  # pragma: no cover
        names.insert(0, ("CUDAExecutionProvider", options))  # pragma: no cover
    return names


def _load(
    model: bytes, providers: list[str | tuple[str, dict[str, str]]], threads: int
) -> ort.InferenceSession:
    """Load on the first of the providers that can be used.

    CPU threads would only wait for a GPU, so with CUDA there is one. Where CUDA cannot be used,
    the model is loaded once more with all threads.
    """
    if len(providers) == 1:
        return _session(model, providers, threads)
    session = _session(model, providers, threads=1)  # pragma: no cover
    if PROVIDERS[session.get_providers()[0]] == "cuda":  # pragma: no cover
        return session
    return _session(model, providers[-1:], threads)  # pragma: no cover


def _session(
    model: bytes, providers: list[str | tuple[str, dict[str, str]]], threads: int
) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads would take the event loop's core between two runs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # errors are raised, and logged by us
    try:
        return ort.InferenceSession(model, options, providers=providers)
    except Exception as error:  # onnxruntime's own classes share no base
        cause = str(error).splitlines()[0][:200]
        raise StartError(f"onnxruntime cannot load the model: {cause}") from error
