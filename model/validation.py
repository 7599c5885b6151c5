"""What pydantic found wrong, in one line for people; its own text is for developers."""

from typing import NamedTuple

from pydantic import ValidationError


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
