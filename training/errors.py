"""Errors of the commands, one line each."""


class ExportError(Exception):
    """A network cannot be exported as asked; the message says why."""
