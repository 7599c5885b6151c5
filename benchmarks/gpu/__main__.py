"""Every question about a GPU in one run of at most five minutes.

`python -m benchmarks.gpu --out FOLDER [--only STEP ...] [--provider cpu]`: each step is a process
of its own with a time limit, and one that fails does not stop the others. The results are
FOLDER/gpu.json and a table. `--provider cpu` is a rehearsal where there is no GPU: it shows that
every step runs, with small figures that say nothing of a GPU.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from benchmarks.gpu.steps import STEPS
from benchmarks.process import machine
from model.cli import script

WHOLE_S = 290.0
"""All steps together; a step gets what is left, if that is less than its own limit."""


def run_step(name: str, out: Path, provider: str, limit_s: float) -> dict[str, object]:
    """Run one step in a process of its own; give what it found, or why it did not."""
    command = [sys.executable, "-m", "benchmarks.gpu.steps", name, str(out), provider]
    began = time.perf_counter()
    with (out / f"{name}.log").open("w") as log:
        try:
            code = subprocess.run(
                command, stdout=log, stderr=subprocess.STDOUT, timeout=limit_s, check=False
            ).returncode
            failed = f"exit status {code}" if code else None
        except subprocess.TimeoutExpired:
            failed = f"not done after {limit_s:.0f} s"
    result = out / f"{name}.json"
    found = json.loads(result.read_text()) if result.exists() else {}
    if failed:
        last = (out / f"{name}.log").read_text(errors="replace").strip().splitlines()[-1:]
        found["failed"] = ": ".join([failed, *last])
    return {"seconds": round(time.perf_counter() - began, 1), **found}


def main(
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    only: Annotated[list[str] | None, typer.Option(help="Steps; all if none.")] = None,
    provider: Annotated[Literal["cuda", "cpu"], typer.Option(help="cpu: a rehearsal.")] = "cuda",
) -> None:
    """Run the steps and print what each found."""
    out.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    steps: dict[str, dict[str, object]] = {}
    for name, (_, limit_s) in STEPS.items():
        if only and name not in only:
            continue
        left = WHOLE_S - (time.perf_counter() - began)
        if left < 5 and not only:
            steps[name] = {"failed": "no time was left"}
            continue
        steps[name] = run_step(name, out, provider, limit_s if only else min(limit_s, left))
        for field, value in steps[name].items():
            print(f"{name:10} {field:28} {value}", flush=True)
        kept = {"machine": machine(), "provider": provider, "steps": steps}
        (out / "gpu.json").write_text(json.dumps(kept, indent=1) + "\n")
    if any("failed" in found for found in steps.values()):
        raise typer.Exit(1)


if __name__ == "__main__":
    script(main)()
