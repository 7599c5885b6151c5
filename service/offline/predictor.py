"""From image files to rows: the service's own decoding, preprocessing, engine and results.

A file that cannot be read or decoded becomes a row with the reason. Trouble of the machine, such
as too little memory, is raised: the file may well be good.
"""

import json
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from threading import Lock

import numpy as np

from model.artifact.manifest import Manifest
from model.preprocessing import Pixels, preprocess
from service.errors import ImageTooLargeError, InferenceFailedError, InvalidImageError
from service.inference.engine import Engine
from service.offline.folder import as_text
from service.offline.results import Row
from service.postprocessing.batch import read_batch
from service.postprocessing.schemas import Result
from service.postprocessing.trust import NO_OUTPUTS, PredictOptions, Trust
from service.preprocessing.decode import open_image, read_image
from service.preprocessing.prepare import ImageSize

MAX_FILE_BYTES = 2**28
"""Of one file; each thread holds one in memory."""
NO_SIZE = ImageSize(0, 0)
"""Only maps need the size of an image."""


class Predictor:
    """Predicts image files; several threads may do so at once.

    Args:
        manifest: Of the artifact.
        engine: Loaded and checked.
        options: Labels for each image, and the coverage of its prediction set.
        max_pixels: Of one image.

    Raises:
        InvalidParameterError: If the artifact has no prediction sets and one is asked for.
    """

    def __init__(
        self, manifest: Manifest, engine: Engine, options: PredictOptions, max_pixels: int
    ) -> None:
        self._spec = manifest.preprocessing
        self.image_size = self._spec.crop
        self._engine = engine
        self._options = options
        self._max_pixels = max_pixels
        self._trust = Trust(manifest, engine.precision, engine.optional)
        self._trust.validate(options)
        self._labels = min(options.top_k, len(manifest.labels))
        gpu = engine.provider != "cpu"  # which runs one batch at a time
        self._turn: AbstractContextManager[object] = Lock() if gpu else nullcontext()

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        further = [name for rank in range(2, self._labels + 1) for name in _names(f"_{rank}")]
        sets = [] if self._options.coverage is None else ["prediction_set"]
        return ["path", *_names(), "in_distribution", *sets, *further, "error"]

    def rows(self, root: Path, files: Sequence[str]) -> list[Row]:
        """Predict a batch of files.

        Args:
            root: The folder.
            files: Paths inside it.

        Raises:
            ServiceError: If the engine fails, or the machine has too little memory.
        """
        results = self.results(read_file(root / file) for file in files)
        return [self._row(*pair) for pair in zip(files, results, strict=True)]

    def results(self, payloads: Iterable[bytes | str]) -> list[Result | str]:
        """Predict a batch of image files.

        Args:
            payloads: Whole files, taken one by one; a text is the reason why one was not read.

        Returns:
            A result for each, or the reason why there is none.

        Raises:
            ServiceError: If the engine fails, or the machine has too little memory.
        """
        prepared = [self._prepare(payload) for payload in payloads]
        images = [each for each in prepared if not isinstance(each, str)]
        results = iter(self._predict(np.stack(images)) if images else ())
        return [each if isinstance(each, str) else next(results) for each in prepared]

    def _prepare(self, payload: bytes | str) -> Pixels | str:
        """Decode and preprocess a file: uint8 (S, S, C), or the reason why that is impossible."""
        if isinstance(payload, str):
            return payload
        try:
            image = open_image(payload, self._max_pixels, spec=self._spec)
            return preprocess(read_image(image, self._spec), self._spec)
        except (InvalidImageError, ImageTooLargeError) as error:
            return str(error)

    def _predict(self, images: Pixels) -> list[Result | str]:
        """Run a batch; a result for each image, or the reason why there is none."""
        with self._turn:
            outputs = self._engine.run(images)
        answers = read_batch(outputs, images, self._trust.threshold)
        found: list[Result | str] = []
        for row in range(len(images)):
            try:
                self._trust.check_finite(answers, row, row, NO_OUTPUTS)
                found.append(self._trust.result(answers, row, NO_SIZE, self._options))
            except InferenceFailedError as error:
                found.append(str(error))
        return found

    def _row(self, file: str, result: Result | str) -> Row:
        path = as_text(file)
        if isinstance(result, str):
            return [path, *[""] * (len(self.columns) - 2), " ".join(result.split())]
        first, *others = [
            (each["label"], _number(each["probability"])) for each in result["predictions"]
        ]
        inside = result.get("in_distribution")
        sets = []
        if self._options.coverage is not None:
            chosen = [each["label"] for each in result.get("prediction_set", ())]
            sets = [json.dumps(chosen, ensure_ascii=False)]
        flag = "" if inside is None else str(inside).lower()
        return [path, *first, flag, *sets, *(cell for pair in others for cell in pair), ""]


def read_file(path: Path) -> bytes | str:
    """Read an image file; a text is the reason why it cannot be read."""
    try:
        size = path.stat().st_size
        if size <= MAX_FILE_BYTES:
            return path.read_bytes()
    except OSError as error:
        return f"The file cannot be read: {error.strerror or error}."
    return f"The file has {size:,} bytes; the limit is {MAX_FILE_BYTES:,}. Save it smaller."


def _names(suffix: str = "") -> list[str]:
    return [f"label{suffix}", f"probability{suffix}"]


def _number(value: float) -> str:
    """Write a float32 in as few digits as tell it from its neighbours."""
    return str(np.float32(value))
