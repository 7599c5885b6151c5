"""Errors of the commands, one line each."""


class ExportError(Exception):
    """A network cannot be exported as asked; the message says why."""


class TrainingError(Exception):
    """A run cannot start or cannot go on; the message says why and what to do."""


class OtherProcessError(TrainingError):
    """Another process of the run cannot go on, and says why: this one has nothing to add."""
