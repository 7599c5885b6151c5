"""Which precision suits the machine: what `RESNET_PRECISION=auto` means.

int8 pays where the processor multiplies bytes in one instruction. Without it int8 is
slower than it looks, and older instructions saturate in between, which costs accuracy.
"""

import platform
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from model.manifest import Precision

BYTE_PRODUCTS = ("amx_int8", "avx512_vnni", "avx_vnni")
"""Flags of x86 processors, as Linux names them; the first that is there is told."""


class Choice(NamedTuple):
    """A precision, and why."""

    precision: Precision
    reason: str


def byte_products(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """Name the instruction set that multiplies bytes; None where there is none, or no telling."""
    if platform.machine() not in ("x86_64", "AMD64", "i686"):
        return None
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return None
    flags = {flag for line in lines if line.startswith("flags") for flag in line.split()}
    return next((name for name in BYTE_PRODUCTS if name in flags), None)


def choose(held: Collection[Precision], *, cuda: bool, byte_products: str | None) -> Choice:
    """Pick the precision that suits the machine among those that the artifact holds.

    Args:
        held: Precisions of the artifact.
        cuda: Whether the engine runs on CUDA.
        byte_products: The instruction set for int8, or None.
    """
    if cuda and "float16" in held:
        return Choice("float16", "the engine runs on CUDA")
    if not cuda and byte_products and "int8" in held:
        return Choice("int8", f"the processor has {byte_products}")
    precision: Precision = "float32" if "float32" in held else next(iter(held))
    if cuda:
        return Choice(precision, "the artifact holds no float16")
    if byte_products:
        return Choice(precision, "the artifact holds no int8")
    return Choice(precision, "the processor has neither VNNI nor AMX")
