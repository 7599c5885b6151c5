"""onnxruntime behind one method: uint8 pictures in, logits and probabilities out.

The engine checks that the file is the graph that the manifest promises, that the
provider is the one that was asked for, and that the golden answers come out, before
anybody may use it. It knows neither queues nor HTTP.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from model.artifact.manifest import Manifest, Precision
from model.preprocessing import Pixels
from service.cpus import usable_cores
from service.errors import InferenceFailedError, OutOfMemoryError, StartError
from service.inference.cuda import run_bound

Floats = NDArray[np.float32]
Provider = Literal["cpu", "cuda"]
PROVIDERS: dict[str, Provider] = {"CPUExecutionProvider": "cpu", "CUDAExecutionProvider": "cuda"}
CUDA_OPTIONS = {
    "cudnn_conv_algo_search": "HEURISTIC",  # EXHAUSTIVE would tune anew for each batch size
    "use_tf32": "0",  # ten bits of mantissa would break parity with the golden answers
}

REQUIRED = ("logits", "probabilities")
EXTRAS: Mapping[str, tuple[str, int]] = MappingProxyType(
    {"score": ("tensor(float)", 1), "features": ("tensor(float)", 2), "maps": ("tensor(float)", 3)}
)
"""Outputs that a graph may have, with type and number of dimensions."""
OUT_OF_MEMORY = re.compile(r"bad.alloc|failed to allocate memory|out of memory|ALLOC_FAILED", re.I)
"""What onnxruntime's errors say, which have no class for it: C++, its arena, CUDA, cuBLAS."""


@dataclass(frozen=True)
class Outputs:
    """What one run gives.

    Attributes:
        logits: float32 (N, K), before calibration.
        probabilities: float32 (N, K), calibrated.
        score: float32 (N,), higher for more ordinary pictures; None if the graph has none.
        maps: float32 (N, h, w) of the top labels; None if not asked for.
        features: float32 (N, F); None if not asked for.
    """

    logits: Floats
    probabilities: Floats
    score: Floats | None = None
    maps: Floats | None = None
    features: Floats | None = None


class Engine:
    """A loaded and checked model. `run` may be called from several threads at once.

    Args:
        model: The ONNX file's bytes, checked against the manifest.
        manifest: What they should be.
        precision: Which of the manifest's files it is.
        provider: `auto` takes CUDA where it is really there.
        policy: What to do if CUDA was asked for and is not there.
        threads: That compute, the one that calls included; runs side by side share the others.
            0 counts the cores that this process may use. On CUDA there is one.

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
    ) -> None:
        """Load the model; nothing has run yet."""
        self.manifest = manifest
        self.precision = precision
        self.threads = threads or usable_cores()
        self._session = _load(model, _wanted(provider), self.threads)
        self.provider = PROVIDERS[self._session.get_providers()[0]]
        self._answer = self._session.run
        if self.provider == "cuda":  # pragma: no cover  # see service.inference.cuda
            self.threads = 1
            self._answer = partial(run_bound, self._session)
        if provider == "cuda" and self.provider != "cuda" and policy == "require":
            raise StartError(
                "CUDA was asked for and onnxruntime did not get it. Install the `gpu` extra and "
                "NVIDIA's driver, or set RESNET_PROVIDER=cpu or RESNET_PROVIDER_POLICY=prefer."
            )
        self._check_border()
        held = {node.name for node in self._session.get_outputs()}
        self.optional: frozenset[str] = frozenset(EXTRAS) & held

    def run(self, images: Pixels, extras: Collection[str] = ()) -> Outputs:
        """Answer a batch: uint8 (N, S, S, C) -> logits, probabilities (N, K), and score.

        Args:
            images: The batch.
            extras: More outputs that somebody in the batch wants: `maps`, `features`.

        Raises:
            InferenceFailedError: If onnxruntime fails, or answers another number of pictures.
            OutOfMemoryError: If it gets no memory.
        """
        wanted = [*REQUIRED, *({"score", *extras} & self.optional)]
        try:
            answers = self._answer(wanted, {"images": images})
        except Exception as error:  # onnxruntime's own classes share no base
            if isinstance(error, MemoryError) or OUT_OF_MEMORY.search(str(error)):
                raise OutOfMemoryError from error
            raise InferenceFailedError(
                f"The engine failed on a batch of {len(images)}. The service goes on; try again."
            ) from error
        if any(len(answer) != len(images) for answer in answers):
            raise InferenceFailedError(
                f"The engine gave {len(answers[0])} answers for a batch of {len(images)}."
            )
        return Outputs(**dict(zip(wanted, answers, strict=True)))

    def check_golden(self, images: Pixels) -> None:
        """Give the manifest's golden answers again, on the provider that will serve.

        Args:
            images: The golden pictures, uint8 (N, S, S, C).

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
                f"The {self.precision} model gives {wrong} of {len(golden)} golden answers another "
                f"label, and probabilities that differ by {error:.2g} (allowed: {tolerance:.2g}): "
                f"the {self.provider} provider computes something else here than at export."
            )

    def _check_border(self) -> None:
        """Compare the session's real inputs and outputs with what the manifest promises."""
        size, channels = self.manifest.input.size, self.manifest.input.channels
        classes = len(self.manifest.labels)
        expected = {
            "images": ("tensor(uint8)", [size, size, channels]),
            "logits": ("tensor(float)", [classes]),
            "probabilities": ("tensor(float)", [classes]),
        }
        nodes = [*self._session.get_inputs(), *self._session.get_outputs()]
        extra = {node.name: (node.type, len(node.shape)) for node in nodes if node.name in EXTRAS}
        actual = {
            node.name: (node.type, list(node.shape[1:])) for node in nodes if node.name not in extra
        }
        fixed = [node.name for node in nodes if isinstance(node.shape[0], int)]
        odd = {name: seen for name, seen in extra.items() if seen != EXTRAS[name]}
        if actual != expected or fixed or odd:
            raise StartError(
                f"The model's inputs and outputs are {actual | odd}, and must be {expected}, each "
                "with a free batch size; export it anew with `export-model`."
            )


def offers_cuda() -> bool:
    """Tell whether this onnxruntime was built for CUDA; whether CUDA is there shows later."""
    return "CUDAExecutionProvider" in ort.get_available_providers()


def _wanted(provider: Literal["auto", "cpu", "cuda"]) -> list[str | tuple[str, dict[str, str]]]:
    """List the providers to try; onnxruntime falls back silently, so the caller asks again."""
    names: list[str | tuple[str, dict[str, str]]] = ["CPUExecutionProvider"]
    if provider != "cpu" and offers_cuda():
        ort.preload_dlls()  # pragma: no cover  # finds the CUDA libraries of the pip wheels
        names.insert(0, ("CUDAExecutionProvider", CUDA_OPTIONS))  # pragma: no cover
    return names


def _load(
    model: bytes, providers: list[str | tuple[str, dict[str, str]]], threads: int
) -> ort.InferenceSession:
    """Load on the first of the providers that comes up.

    The processor's threads would only wait for a GPU: with CUDA there is one, and where CUDA
    did not come up the model is loaded once more for the processor.
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
    options.log_severity_level = 4  # what is worse than a warning is raised, and in our log then
    try:
        return ort.InferenceSession(model, options, providers=providers)
    except Exception as error:  # onnxruntime's own classes share no base
        cause = str(error).splitlines()[0][:200]
        raise StartError(f"onnxruntime cannot load the model: {cause}") from error
