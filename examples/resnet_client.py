"""A small typed client of the service: one file, no dependency but httpx. Copy it.

    with Client("http://localhost:8000") as client:
        for result in client.predict(Path("boot.png")):
            print(result.label, result.probability)

As a command: `python resnet_client.py http://localhost:8000 boot.png shirt.png`.
"""

import random
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

RETRIED = {429, 503}
"""Too many requests from this client, and too many from all: the service says when to come back."""


class ProblemError(Exception):
    """The service refused a request (RFC 9457).

    Attributes:
        status: Of HTTP.
        code: Stable name of the problem, such as `invalid_image`.
    """

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status, self.code = status, code


@dataclass(frozen=True)
class Result:
    """What the service says of one image.

    Attributes:
        label: The likeliest.
        probability: Its calibrated probability.
        predictions: Label and probability of the `top_k` likeliest labels.
        in_distribution: False for images unlike the training data; None if it is not recorded.
        prediction_set: The labels that hold the truth as often as `coverage`, if it was asked for.
    """

    label: str
    probability: float
    predictions: tuple[tuple[str, float], ...]
    in_distribution: bool | None
    prediction_set: tuple[str, ...] | None

    @classmethod
    def read(cls, answer: Mapping[str, Any]) -> Self:
        """Read one entry of `results`."""
        predictions = tuple((each["label"], each["probability"]) for each in answer["predictions"])
        prediction_set = answer.get("prediction_set")
        return cls(
            *predictions[0],
            predictions,
            answer.get("in_distribution"),
            None if prediction_set is None else tuple(each["label"] for each in prediction_set),
        )


class Client:
    """Asks one service. To be used by one thread at a time, in a `with` statement.

    Args:
        url: Of the service, with its prefix if it has one.
        key: An API key.
        attempts: How often one request is sent at most.
        timeout_s: For each attempt.
    """

    def __init__(
        self, url: str, key: str | None = None, *, attempts: int = 4, timeout_s: float = 30
    ) -> None:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s)
        self._attempts = attempts

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.close()

    def predict(
        self,
        *images: Path | bytes,
        model: str | None = None,
        top_k: int = 5,
        coverage: float | None = None,
    ) -> list[Result]:
        """Classify image files, in one request.

        Args:
            images: Paths, or the bytes of files.
            model: Another than the default one.
            top_k: Labels wanted for each.
            coverage: Adds `prediction_set`; for example 0.95.

        Raises:
            ProblemError: If the service refuses the request, after the last attempt too.
            httpx.TransportError: If it does not answer.
            OSError: If a file cannot be read.
        """
        query = {"top_k": str(top_k)} | ({} if coverage is None else {"coverage": str(coverage)})
        contents = [each if isinstance(each, bytes) else each.read_bytes() for each in images]
        response = self._post(
            "/predict" if model is None else f"/models/{model}/predict",
            params=query,
            files=[("file", (f"{number}", content)) for number, content in enumerate(contents)],
        )
        return [Result.read(answer) for answer in response.json()["results"]]

    def _post(self, path: str, **request: Any) -> httpx.Response:
        """Send a request; again if the service is busy or gone, since nothing changes by it."""
        for attempt in range(1, self._attempts + 1):
            wait_s = 0.1 * 2**attempt
            try:
                response = self._http.post(path, **request)
            except httpx.TransportError:
                if attempt == self._attempts:
                    raise
            else:
                if response.status_code not in RETRIED or attempt == self._attempts:
                    return _checked(response)
                wait_s = float(response.headers.get("retry-after", wait_s))
            time.sleep(wait_s * random.uniform(1, 1.25))  # noqa: S311  # so that clients spread
        raise ValueError(f"`attempts` (={self._attempts}) must be at least 1.")


def _checked(response: httpx.Response) -> httpx.Response:
    if response.is_success:
        return response
    try:
        problem = response.json()
    except ValueError:  # a proxy answered
        problem = {}
    code, detail = problem.get("code", "unknown"), problem.get("detail", response.text[:200])
    raise ProblemError(response.status_code, code, detail)


if __name__ == "__main__":
    url, *paths = sys.argv[1:]
    with Client(url) as client:
        for path, result in zip(paths, client.predict(*map(Path, paths)), strict=True):
            note = " (unlike the training data)" if result.in_distribution is False else ""
            print(f"{path}: {result.label}, {result.probability:.1%}{note}")
