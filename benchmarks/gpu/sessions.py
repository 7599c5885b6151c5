"""The bare session on the GPU: the ceiling of what the service can reach."""

import time
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import onnxruntime as ort

from benchmarks.gpu.rig import Rig
from model.architecture.family import get_architecture
from model.artifact.folder import read
from model.preprocessing import Pixels
from service.inference.cuda import padded_size, run_with_io_binding
from service.inference.engine import CUDA_OPTIONS


def export_models(rig: Rig) -> None:
    """Export a resnet50 with random weights, in float32 and float16."""
    from training.export.options import Options  # noqa: PLC0415  # onnx and torch, here alone
    from training.export.precisions import chosen_precisions  # noqa: PLC0415
    from training.export.uncalibrated import export_random  # noqa: PLC0415

    spec = get_architecture("resnet50").model_copy(update={"size": rig.image_size})
    options = Options(chosen_precisions(("float32", "float16")))
    began = time.perf_counter()
    artifact = export_random(spec, rig.large_model, options)
    rig.found["export_s"] = round(time.perf_counter() - began, 1)
    rig.found["precisions"] = list(artifact.manifest.files)


def load(model: bytes, provider: str, options: Mapping[str, str]) -> ort.InferenceSession:
    """Load a graph on a provider, with the service's options but for those that are given.

    Raises:
        RuntimeError: If onnxruntime took another provider.
    """
    ort.preload_dlls()
    wanted = {
        "cuda": ("CUDAExecutionProvider", {**CUDA_OPTIONS, **options}),
        "cpu": ("CPUExecutionProvider", {}),
    }[provider]
    session = ort.InferenceSession(model, providers=[wanted])
    if session.get_providers()[0] != wanted[0]:
        raise RuntimeError(f"onnxruntime took {session.get_providers()}")
    return session


def per_second(run: Callable[[], object], images: int, seconds: float) -> float:
    """Images a second of repeated runs, after two that warm up."""
    run(), run()
    done, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < seconds:
        run()
        done += images
    return round(done / took, 1)


def _mixed_sizes(session: ort.InferenceSession, images: Pixels, *, fixed: bool) -> None:
    """Run batches of every size up to a limit, padded to a power of two or as they are."""
    for count in (3, 5, 7, 11, 13, 17, 23, 29):
        batch = images[: min(count, len(images))]
        if fixed:
            run_with_io_binding(session, ["probabilities"], {"images": batch})
        else:
            session.run(["probabilities"], {"images": batch})


def bare_session(rig: Rig) -> None:
    """Images a second by batch size: plain runs and I/O binding; TF32; fixed and free sizes."""
    artifact = read(rig.large_model)
    size = artifact.manifest.input.size
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (max(rig.batches), size, size, 3), dtype=np.uint8)
    wanted = ["probabilities"]
    for precision in artifact.manifest.files:
        for tf32 in ("0", "1") if precision == "float32" and rig.on_gpu else ("0",):
            session = load(artifact.model(precision), rig.provider, {"use_tf32": tf32})
            rows = {}
            for count in rig.batches:
                given = {"images": images[:count]}
                plain = per_second(partial(session.run, wanted, given), count, rig.seconds / 2)
                bound = partial(run_with_io_binding, session, wanted, given)
                rows[count] = {
                    "plain": plain,
                    "io_binding": per_second(bound, count, rig.seconds / 2),
                }
            rig.found[f"{precision} tf32={tf32}"] = rows
        session = load(artifact.model(precision), rig.provider, {})
        for count in rig.batches:  # the sizes that the service warms up
            run_with_io_binding(session, wanted, {"images": images[: padded_size(count)]})
        for name, fixed in (("fixed", True), ("free", False)):
            began = time.perf_counter()
            _mixed_sizes(session, images, fixed=fixed)
            rig.found[f"{precision} eight sizes, first time, {name}"] = round(
                time.perf_counter() - began, 3
            )
