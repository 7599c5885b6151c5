"""The memory of a training step: whether it will be enough, and what to say when it was not.

The estimate is a lower bound: what autograd keeps of a batch for its backward pass. It is counted
on two images, so that no large step has to be tried.
"""

import os
import resource
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from training.data.dataset import Dataset
from training.data.memory import CGROUP_LIMIT
from training.errors import TrainingError
from training.fit.module import Classifier
from training.fit.trainer import forward_batch_size, precision
from training.recipe.recipe import Recipe
from training.runs.record import RunRecord

PROBE_IMAGES = 2
"""A batch norm needs two."""
SAFE_SHARE = 0.6
"""Of the free memory that a recommended batch may take by the estimate, which is a lower bound."""
MEMINFO = Path("/proc/meminfo")
CGROUP_USE = Path("/sys/fs/cgroup/memory.current")
REFUSALS = ("can't allocate memory", "alloc_cpu.cpp", "out of memory", "std::bad_alloc")
"""In messages of torch that mean that an allocation was refused."""


def check_memory(dataset: Dataset, record: RunRecord) -> None:
    """Check that a step's activations fit into the free memory.

    Raises:
        TrainingError: If they do not; it names a batch size that does.
    """
    recipe, free = record.recipe, free_memory()
    images = min(forward_batch_size(recipe), len(dataset.train))
    each = activation_bytes(record)
    if free is not None and images * each > free:
        raise TrainingError(
            f"A step of {images} images of {record.preprocessing.crop} pixels needs "
            f"at least {images * each / 1e9:,.1f} GB for its activations, but "
            f"{free / 1e9:,.1f} GB are free. {_way_out(recipe, free, each)}"
        )


def activation_bytes(record: RunRecord) -> int:
    """Count the bytes that autograd keeps for an image of the run's full size.

    Each storage counts once, the weights not at all.
    """
    spec = record.preprocessing
    images = torch.zeros(PROBE_IMAGES, spec.crop, spec.crop, spec.channels, dtype=torch.uint8)
    half = torch.autocast("cpu", torch.bfloat16, enabled=precision(record.recipe) != "32-true")
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.random.fork_rng(), half:
        module = Classifier(record)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            logits = module(images)  # alive until all is counted: no storage is used twice
    own = {tensor.untyped_storage().data_ptr() for tensor in module.state_dict().values()}
    del logits
    return sum(size for place, size in kept.items() if place not in own) // PROBE_IMAGES


def free_memory() -> int | None:
    """Count the bytes that this process may still take; None where the system does not say.

    On a GPU its own; else the machine's, cut by the container's and by the process's limit.
    """
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    limits = []
    with suppress(OSError, ValueError, StopIteration):
        lines = MEMINFO.read_text(encoding="utf-8").splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        limits.append(1024 * int(line.split()[1]))
    with suppress(OSError, ValueError):
        most = int(CGROUP_LIMIT.read_text(encoding="utf-8"))
        limits.append(most - int(CGROUP_USE.read_text(encoding="utf-8")))
    address_space, _ = resource.getrlimit(resource.RLIMIT_AS)
    if address_space != resource.RLIM_INFINITY:
        with suppress(OSError, ValueError):
            pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
            limits.append(address_space - pages * os.sysconf("SC_PAGE_SIZE"))
    return max(0, min(limits)) if limits else None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was refused, by Python, by torch or by CUDA."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in REFUSALS)


def explain_out_of_memory(record: RunRecord, free: int | None) -> str:
    """Say in one line that the memory was not enough, and what would be.

    Args:
        record: Of the run.
        free: Bytes that were free before the first step; None: not known.
    """
    recipe = record.recipe
    seen = "" if free is None else f"; {free / 1e9:,.1f} GB were free before the first step"
    way = "Use a smaller --set batch_size= or image_size="
    with suppress(MemoryError, RuntimeError):  # the memory may be short for the probe, too
        way = _way_out(recipe, free or 0, activation_bytes(record)).rstrip(".")
    return (
        f"Out of memory during training with batches of {recipe.batch_size} images of "
        f"{record.preprocessing.crop} pixels{seen}. {way}."
    )


def _way_out(recipe: Recipe, free: int, each: int) -> str:
    """Name the batch that fits, a power of two, or smaller images where none does."""
    fits = int(SAFE_SHARE * free) // max(1, each)
    size = min(1 << max(0, fits.bit_length() - 1), recipe.batch_size // 2)
    if fits < PROBE_IMAGES or size < PROBE_IMAGES:
        return "Make the images smaller with --set image_size=, or choose a smaller architecture."
    parts = -(-recipe.batch_size // size)
    return (
        f"--set batch_size={size} fits, or --set accumulate_steps={parts} with the same batch size."
    )
