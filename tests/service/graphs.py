"""Tiny models to serve: uint8 (N, 4, 4, 1) -> 2 labels, `dark` and `bright`, and odd relatives.

All give the golden answer that `make_manifest` writes: white is bright.
"""

import numpy as np

from tests.service.onnx_writer import (
    DOUBLE,
    FLOAT,
    INT64,
    UINT8,
    Constant,
    Dims,
    Node,
    TensorInfo,
    model,
)

IMAGES = TensorInfo("images", UINT8, ("n", 4, 4, 1))
WEIGHTS = np.array([[-0.1, 0.1]] * 16, np.float32)
CONSTANTS: dict[str, Constant] = {
    "scale": np.array(255, np.float32),
    "flat": np.array([0, -1], np.int64),
    "weights": WEIGHTS,
}
LOGITS = (
    Node("Cast", ["images"], "float", cast_to=FLOAT),
    Node("Div", ["float", "scale"], "unit"),
    Node("Reshape", ["unit", "flat"], "pixels"),
    Node("MatMul", ["pixels", "weights"], "sums"),
)
ANSWER = (Node("Softmax", ["logits"], "probabilities"),)


def plain(
    *,
    images: TensorInfo = IMAGES,
    labels: int = 2,
    batch: int | str = "n",
    name: str = "probabilities",
    external: str | None = None,
) -> bytes:
    """Give a model that does what it should, unless an argument asks for something else."""
    weights = np.array([[-0.1, 0.1, *[0.0] * (labels - 2)]] * 16, np.float32)
    return model(
        [
            *LOGITS,
            Node("Identity", ["sums"], "logits"),
            Node("Softmax", ["logits"], name),
        ],
        {**CONSTANTS, "weights": weights},
        [images],
        _outputs((batch, labels), name),
        external=external,
    )


def double() -> bytes:
    """Give a model whose probabilities are float64."""
    return model(
        [
            *LOGITS,
            Node("Identity", ["sums"], "logits"),
            Node("Softmax", ["logits"], "single"),
            Node("Cast", ["single"], "probabilities", cast_to=DOUBLE),
        ],
        CONSTANTS,
        [IMAGES],
        [TensorInfo("logits", FLOAT, ("n", 2)), TensorInfo("probabilities", DOUBLE, ("n", 2))],
    )


def nan_on_black() -> bytes:
    """Give a model that divides by the brightness: 0 / 0 for a black image."""
    return model(
        [
            *LOGITS,
            Node("MatMul", ["pixels", "ones"], "brightness"),
            Node("Div", ["brightness", "brightness"], "one"),
            Node("Mul", ["sums", "one"], "logits"),
            *ANSWER,
        ],
        {**CONSTANTS, "ones": np.ones((16, 2), np.float32)},
        [IMAGES],
        _outputs(("n", 2)),
    )


def nan_always() -> bytes:
    """Give a model that never gives a number."""
    return model(
        [*LOGITS, Node("Mul", ["sums", "nan"], "logits"), *ANSWER],
        {**CONSTANTS, "nan": np.array(np.nan, np.float32)},
        [IMAGES],
        _outputs(("n", 2)),
    )


def fails_on_grey() -> bytes:
    """Give a model that reads a table of one entry: at 0 for black and white, at 1 for grey."""
    return model(
        [
            *LOGITS,
            Node("MatMul", ["pixels", "mean"], "brightness"),
            Node("Sub", ["five", "brightness"], "darkness"),  # 5 b, 5 - 5 b
            Node("Mul", ["brightness", "darkness"], "product"),
            Node("Div", ["product", "five"], "between"),  # 5 b (1 - b)
            Node("Cast", ["between"], "position", cast_to=INT64),
            Node("Gather", ["table", "position"], "zero"),
            Node("Add", ["sums", "zero"], "logits"),
            *ANSWER,
        ],
        {
            **CONSTANTS,
            "mean": np.full((16, 2), 5 / 16, np.float32),
            "five": np.array(5, np.float32),
            "table": np.zeros(1, np.float32),
        },
        [IMAGES],
        _outputs(("n", 2)),
    )


def one_row() -> bytes:
    """Give a model that answers a batch of any size with one row."""
    return model(
        [
            *LOGITS,
            Node("Shape", ["images"], "shape"),
            Node("Gather", ["shape", "none"], "count"),
            Node("Min", ["count", "single"], "few"),
            Node("Range", ["none", "few", "single"], "kept"),  # a length that cannot be foreseen
            Node("Gather", ["sums", "kept"], "logits"),
            *ANSWER,
        ],
        {**CONSTANTS, "none": np.array(0, np.int64), "single": np.array(1, np.int64)},
        [IMAGES],
        _outputs(("m", 2)),
    )


def swapped() -> bytes:
    """Give a model that has the two labels the wrong way round."""
    return model(
        [*LOGITS, Node("Identity", ["sums"], "logits"), *ANSWER],
        {**CONSTANTS, "weights": -WEIGHTS},
        [IMAGES],
        _outputs(("n", 2)),
    )


def _outputs(dims: Dims, name: str = "probabilities") -> list[TensorInfo]:
    return [TensorInfo("logits", FLOAT, dims), TensorInfo(name, FLOAT, dims)]
