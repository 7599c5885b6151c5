"""What pydantic found wrong, in one line for people; and records of earlier versions.

Pydantic's own text is for developers.
"""

from collections.abc import Collection
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json

Record = TypeVar("Record", bound=BaseModel)


class Fault(NamedTuple):
    """The first thing that a model refused.

    Attributes:
        where: Path of the field; empty where fields do not go together.
        seen: What stood there.
        rule: What it must be.
    """

    where: str
    seen: object
    rule: str

    def __str__(self) -> str:
        """Say what was seen and the rule."""
        return f"`{self.where}` (={self.seen!r}): {self.rule}." if self.where else self.rule


def first_fault(error: ValidationError) -> Fault:
    """Take the first of what pydantic lists."""
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    return Fault(where, first["input"], first["msg"].removeprefix("Value error, "))


def read_leniently(
    kind: type[Record],
    content: str | bytes,
    essential: Collection[str],
    *,
    unknown_only: bool = False,
) -> tuple[Record, tuple[str, ...]]:
    """Read a record of an earlier version as far as it goes.

    Fields that are not known are passed over, and so are values that are no longer allowed
    where a default can stand in for them.

    Args:
        kind: The record's model.
        content: JSON.
        essential: Top-level fields of which nothing is passed over.
        unknown_only: Pass over unknown fields alone: a record that is not trusted must not
            lose a value that breaks a rule.

    Returns:
        The record, and the dotted names of what was passed over.

    Raises:
        ValidationError: If a required field is missing or wrong, or an essential one is not
            as this version has it.
    """
    passed_over: list[str] = []
    while True:  # each turn takes a field out
        try:
            return kind.model_validate_json(content), tuple(passed_over)
        except ValidationError as error:
            faults = error.errors(include_url=False)
            if unknown_only and any(fault["type"] != "extra_forbidden" for fault in faults):
                raise
            places = [fault["loc"] for fault in faults]
            if not all(place and place[0] not in essential for place in places):
                raise
            fields = from_json(content)
            if not all(_remove(fields, place) for place in places):
                raise
            passed_over += [".".join(map(str, place)) for place in places]
            content = to_json(fields)


def _remove(fields: Any, place: tuple[int | str, ...]) -> bool:
    """Take a field out of its object; False if it was not there."""
    try:
        for step in place[:-1]:
            fields = fields[step]
    except (LookupError, TypeError):  # a step that names a choice among types, not a field
        return False
    if not isinstance(fields, dict) or place[-1] not in fields:
        return False
    del fields[place[-1]]
    return True
