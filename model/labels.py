"""Names of labels: ImageNet's thousand, which come with the package, and files of names.

No torch here.
"""

from pathlib import Path

IMAGENET = Path(__file__).parent / "imagenet_labels.txt"
"""ImageNet's 1,000 labels in the order of the ILSVRC 2012 synsets, one a line.

The first lemma of each synset, as torchvision shows them; two that would occur twice are
told apart: "crane bird" (n02012849) from "crane", "maillot tank suit" (n03710721) from "maillot".
"""


def read_labels(path: Path) -> tuple[str, ...]:
    """Read names of labels, one a line, in the order of the targets.

    Raises:
        ValueError: If the file cannot be read, has no names, or one of them twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows' editors begin with a mark
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as labels, one a line: {error}") from error
    labels = tuple(line.strip() for line in text.splitlines() if line.strip())
    twice = {label for label in labels if labels.count(label) > 1}
    if not labels or twice:
        cause = f"{sorted(twice)[0]!r} twice" if twice else "none"
        raise ValueError(f"{path} must name labels, one a line, each once; it names {cause}.")
    return labels


def name_labels(count: int) -> tuple[str, ...]:
    """Name the labels of a network whose own names are not known.

    A thousand are taken to be ImageNet's; others are numbered.
    """
    if count == 1000:
        return read_labels(IMAGENET)
    return tuple(f"label {index}" for index in range(count))
