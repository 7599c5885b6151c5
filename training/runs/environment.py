"""What a run's last bits depend on besides recipe, seed and data; and when it was."""

import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import BaseModel, ConfigDict

from training.distributed import processes

PACKAGES = ("torch", "pytorch-lightning", "torchmetrics", "numpy", "pillow")


class Environment(BaseModel):
    """Versions, processor and threads.

    Attributes:
        versions: Of Python and of the packages that compute.
        processor: The instructions that torch uses, or the GPU's name.
        threads: Of one operation; sums are split among them.
        processes: That torchrun started; 1 without it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    versions: dict[str, str]
    processor: str
    threads: int
    processes: int = 1

    @classmethod
    def present(cls) -> Self:
        """Describe this process."""
        return cls(
            versions={
                "python": platform.python_version(),
                **{name: version(name) for name in PACKAGES},
            },
            processor=_processor(),
            threads=torch.get_num_threads(),
            processes=processes().world_size,
        )

    def differences(self) -> list[str]:
        """List how this process differs from the one described, a phrase each."""
        here = self.present()
        pairs = {
            **{
                name: (self.versions.get(name), here.versions.get(name))
                for name in sorted(self.versions.keys() | here.versions.keys())
            },
            "processor": (self.processor, here.processor),
            "threads": (self.threads, here.threads),
            "processes": (self.processes, here.processes),
        }
        return [
            f"{name} was {was} and is now {is_now}"
            for name, (was, is_now) in pairs.items()
            if was != is_now
        ]


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16; elsewhere it is emulated, and slow."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    capabilities: Mapping[str, Any] = torch.cpu.get_capabilities()
    return any(
        capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16", "amx")
    )


def commit() -> str | None:
    """Name the project's commit, with "-dirty" if files were changed; None outside git."""
    command = ["git", "describe", "--always", "--abbrev=12", "--dirty", "--exclude=*"]
    here = Path(__file__).parents[1]
    try:
        done = subprocess.run(  # noqa: S603  # a fixed command line
            command, cwd=here, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def now() -> str:
    """The present moment, in UTC, to the second (ISO 8601)."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _processor() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    bfloat16 = " bfloat16" if has_bfloat16() else ""
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}{bfloat16}"
