"""Names of labels: ImageNet's thousand, which come with the package, and files of names.

No torch here.
"""

import ast
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from model.printable import MAX_LABEL_LENGTH, as_seen, decode_text, hidden_in

IMAGENET = Path(__file__).parent / "imagenet_labels.txt"
"""ImageNet's 1,000 labels in the order of the ILSVRC 2012 synsets, one a line.

The first lemma of each synset, as torchvision shows them; two that would occur twice are
told apart: "crane bird" (n02012849) from "crane", "maillot tank suit" (n03710721) from "maillot".
"""

MAX_BYTES = 8 * 2**20
FORMS = 'one name a line, or JSON: ["cat", "dog"], {"0": "cat", "1": "dog"} or {"cat": 0, "dog": 1}'
WRAPPERS = ("id2label", "class_to_idx", "idx_to_class", "label2id", "labels", "classes", "names")
"""Keys of JSON files that hold labels among other things: transformers' `config.json`, others."""


def read_labels(path: Path) -> tuple[str, ...]:
    """Read names of labels, in the order of a network's outputs.

    Text has one name a line. JSON (or a dict as Python writes it) has a list of names, or names
    by number, or numbers by name; ImageNet's index file has pairs of synset and name.

    Raises:
        ValueError: If the file cannot be read, or a name is missing, empty, there twice, too long
            or has a character that cannot be seen.
    """
    text = _read(path)
    if text.lstrip().startswith(("[", "{")):
        names = _from_data(_parsed(text, path), path)
    else:
        names = [line.strip() for line in re.split(r"\r\n|\r|\n", text.strip("\r\n \t"))]
    if not any(names):
        raise ValueError(f"{path} must name labels, {FORMS}; it names none.")
    seen: dict[str, int] = {}
    for number, name in enumerate(names):
        if not as_seen(name) or hidden_in(name) or len(name) > MAX_LABEL_LENGTH:
            raise ValueError(
                f"{path} must name labels, {FORMS}; name {number + 1} is "
                f"{ascii(name[:40]) if name else 'empty'}."
            )
        first = seen.setdefault(as_seen(name), number)
        if first != number:
            raise ValueError(
                f"{path} must name labels, each once; it names {name!r} twice, as the outputs "
                f"{first} and {number}."
            )
    return tuple(names)


def name_labels(count: int) -> tuple[str, ...]:
    """Name the labels of a network whose own names are not known.

    A thousand are taken to be ImageNet's; others are numbered.
    """
    if count == 1000:
        return read_labels(IMAGENET)
    return tuple(f"label {index}" for index in range(count))


def _read(path: Path) -> str:
    """Read a small text file in UTF-8, or in what its mark says.

    Raises:
        ValueError: If it is no text.
    """
    try:
        if path.exists() and not path.is_file():
            raise ValueError(f"{path} cannot be read as labels: it is no regular file.")
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"{path} cannot be read as labels: it is over {MAX_BYTES:,} bytes.")
        content = path.read_bytes()
    except OSError as error:
        cause = error.strerror or type(error).__name__
        raise ValueError(f"{path} cannot be read as labels: {cause}.") from error
    try:
        return decode_text(content)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} cannot be read as labels: it is not text in {error.encoding.upper()}. Save it "
            "as UTF-8."
        ) from None


def _parsed(text: str, path: Path) -> Any:
    """Read JSON, or what Python writes of a dict or a list.

    Raises:
        ValueError: If it is neither.
    """
    try:
        return json.loads(text, object_pairs_hook=_without_twins)
    except json.JSONDecodeError as error:
        cause = f"{error.msg}, line {error.lineno}"
    except RecursionError:
        cause = "too deep"
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ValueError(
            f"{path} begins as JSON does and cannot be read as such ({cause}). Labels are {FORMS}."
        ) from None


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object of JSON that has a key twice."""
    content = dict(pairs)
    if len(content) != len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"The labels have {twin!r} twice; each must be there once.")
    return content


def _from_data(content: Any, path: Path) -> list[str]:
    """Give the names in a list, or in an object by number or with their numbers.

    Raises:
        ValueError: If the content has another form.
    """
    if isinstance(content, Mapping):
        inner = next((content[key] for key in WRAPPERS if _holds(content.get(key))), content)
        content = _in_order(inner) if isinstance(inner, Mapping) else inner
    if isinstance(content, Sequence) and not isinstance(content, str):
        names = [_name(each) for each in content]
        if None not in names:
            return _told_apart(names, content)  # type: ignore[arg-type]  # none is None
    raise ValueError(
        f"{path} has labels in a form that is not known. Labels are {FORMS}, with the numbers 0 "
        "to the last."
    )


def _holds(value: Any) -> bool:
    return isinstance(value, Mapping | list)


def _in_order(content: Mapping[Any, Any]) -> list[Any] | None:
    """Put an object's names in the order of their numbers; None if those are not 0 to the last."""
    values = list(content.values())
    if all(type(value) is int for value in values):
        numbered = {number: name for name, number in content.items()}
    else:
        numbers = [str(key) for key in content]
        if not all(number.isascii() and number.isdecimal() for number in numbers):
            return None
        numbered = {int(number): values[place] for place, number in enumerate(numbers)}
    if sorted(numbered) != list(range(len(content))):
        return None
    return [numbered[number] for number in range(len(content))]


def _name(each: Any) -> str | None:
    """Take the name itself; of a pair of synset and name, as in ImageNet's index, the name."""
    if isinstance(each, list | tuple) and len(each) == 2:
        each = each[1]
    return each.strip() if isinstance(each, str) else None


def _told_apart(names: list[str], content: Sequence[Any]) -> list[str]:
    """Add the synset to names that stand for two: ImageNet's crane is a bird and a machine."""
    return [
        f"{name} ({each[0]})" if not isinstance(each, str) and names.count(name) > 1 else name
        for name, each in zip(names, content, strict=True)
    ]
