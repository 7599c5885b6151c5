"""The command `python -m training.cli.report ARTIFACT`: how far an artifact can be trusted."""

import sys
from collections.abc import Sequence
from pathlib import Path

from model.artifact.folder import ArtifactError, read
from training.export.report import trust_table


def main(arguments: Sequence[str]) -> int:
    """Print the tables of one artifact."""
    try:
        (folder,) = arguments
        sys.stdout.write(trust_table(read(Path(folder)).manifest) + "\n")
    except (ValueError, ArtifactError) as error:
        sys.stderr.write(f"usage: python -m training.cli.report ARTIFACT ({error})\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
