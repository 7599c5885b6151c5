"""What is wrong with a request that the server cannot take, for the application to answer.

The server finds it. The application judges the request's key first, and then answers.
"""

from http import HTTPStatus
from typing import NamedTuple

FAULT = "resnet.fault"
"""The key of a request's `Fault` in its ASGI scope."""


class Fault(NamedTuple):
    """Why a request is not taken."""

    status: HTTPStatus
    text: str
