"""The steps of `python -m benchmarks.gpu`, by name, each with its time limit in seconds."""

import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.gpu import served, sessions, trained
from benchmarks.gpu.rig import Rig

STEPS: dict[str, tuple[Callable[[Rig], None], float]] = {
    "service": (served.starts, 60),
    "models": (sessions.export_models, 60),
    "session": (sessions.bare_session, 45),
    "http": (served.speed, 60),
    "stability": (served.stability, 75),
    "step": (trained.step_speed, 45),
    "loader": (trained.loader_share, 60),
    "resume": (trained.resume, 60),
    "export": (trained.export_run, 60),
}


def main() -> None:
    """Run one step: its name, the folder of the results, the provider."""
    name, out, provider = sys.argv[1:]
    rig = Rig(name, Path(out), provider)
    try:
        STEPS[name][0](rig)
    finally:
        rig.write()


if __name__ == "__main__":
    main()
