"""What each step knows: where results go, which provider, how large a measurement is."""

import json
import shutil
import subprocess
from pathlib import Path


class Rig:
    """One step's results and sizes.

    Attributes:
        provider: `cuda`, or `cpu` in a rehearsal.
        found: The figures, which `write` keeps beside those of other steps.
    """

    def __init__(self, name: str, out: Path, provider: str) -> None:
        self.name, self.out, self.provider = name, out, provider
        self.found: dict[str, object] = {}
        self.on_gpu = provider == "cuda"
        self.batches = (1, 8, 32, 128) if self.on_gpu else (1, 2)
        self.seconds = 2.0 if self.on_gpu else 0.5
        self.requests = 10_000 if self.on_gpu else 200
        self.connections = 64 if self.on_gpu else 4
        self.image_size = 224 if self.on_gpu else 64

    @property
    def large_model(self) -> Path:
        """Folder of the resnet50 that the step `models` makes."""
        return self.out / "models" / "resnet50" / "1"

    def write(self) -> None:
        """Keep what was found."""
        path = self.out / f"{self.name}.json"
        path.write_text(json.dumps(self.found, indent=1) + "\n")


def gpu_memory_mb() -> float | None:
    """Memory of the first GPU that is in use, in MB; None where nvidia-smi is missing."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    query = [command, "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
    told = subprocess.run(query, capture_output=True, text=True, check=False, timeout=20)
    return float(told.stdout) if told.returncode == 0 else None
