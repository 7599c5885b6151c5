"""The shape of an image after each layer, and the cost of the layer.

`model.architecture.summary` calls one method per layer, in the order in which torch runs them.
Arithmetic alone; no torch here.
"""

from typing import NamedTuple, Self

from model.architecture.layers import Layer, LayerKind, Shape


class Cursor(NamedTuple):
    """The feature map at one point of the network.

    Attributes:
        shape: (C, H, W), or (F,) after pooling.
        field: Side of the square of input pixels that one position sees; None: all of them.
        step: Input pixels between two neighbouring positions.
    """

    shape: Shape
    field: int | None = 1
    step: int = 1


class ShapeTracer:
    """Follows the shape of an image from layer to layer, and records each layer.

    Args:
        shape: (C, H, W) of the image.
    """

    def __init__(self, shape: Shape) -> None:
        self.cursor = Cursor(shape)
        self._layers: list[Layer] = []

    def collect(self) -> tuple[Layer, ...]:
        """Give the layers recorded since the last call."""
        layers, self._layers = tuple(self._layers), []
        return layers

    def conv(  # noqa: PLR0913  # a convolution has as many properties
        self,
        path: str,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        *,
        groups: int = 1,
        bias: bool = False,
    ) -> Self:
        """Convolve with symmetric padding, `kernel // 2`."""
        in_channels = self.cursor.shape[0]
        self._window(kernel, stride, out_channels)
        _, height, width = self.cursor.shape
        weights = in_channels // groups * out_channels * kernel * kernel
        return self._note(
            path,
            "conv",
            weights + out_channels * bias,
            weights * height * width,
            kernel=kernel,
            stride=stride,
            groups=groups if groups > 1 else None,
        )

    def norm(self, path: str) -> Self:
        """Scale and shift each channel."""
        return self._note(path, "norm", 2 * self.cursor.shape[0])

    def relu(self, path: str) -> Self:
        """Set what is negative to zero."""
        return self._note(path, "activation")

    def max_pool(self, path: str, kernel: int, stride: int) -> Self:
        """Keep the largest of each window; an odd side is rounded up."""
        self._window(kernel, stride, self.cursor.shape[0])
        return self._note(path, "pool", kernel=kernel, stride=stride)

    def pad(self, path: str, out_channels: int, stride: int) -> Self:
        """Take every `stride`-th pixel and add channels of zeros."""
        self._window(1, stride, out_channels)
        return self._note(path, "pad", stride=stride)

    def average_pool(self, path: str) -> Self:
        """Keep each channel's mean."""
        self.cursor = Cursor(self.cursor.shape[:1], None)
        return self._note(path, "pool")

    def flatten(self, path: str) -> Self:
        """Flatten to one dimension."""
        channels, height, width = self.cursor.shape
        self.cursor = Cursor((channels * height * width,), None)
        return self._note(path, "flatten")

    def dropout(self, path: str) -> Self:
        """Drop some values, in training alone."""
        return self._note(path, "dropout")

    def linear(self, path: str, out_features: int) -> Self:
        """Weigh all values, and add a bias."""
        macs = self.cursor.shape[0] * out_features
        self.cursor = Cursor((out_features,), None)
        return self._note(path, "linear", macs + out_features, macs)

    def squeeze_excite(self, path: str, squeezed: int) -> Self:
        """Scale each channel by a gate that depends on the whole image.

        The receptive field stays: the gate is one number a channel.
        """
        entered = self.cursor
        self.cursor = entered._replace(shape=(entered.shape[0], 1, 1))
        self.conv(f"{path}.fc1", squeezed, 1, bias=True).relu(f"{path}.relu")
        self.conv(f"{path}.fc2", entered.shape[0], 1, bias=True)
        self.cursor = entered
        return self._note(f"{path}.scale", "scale")

    def add(self, path: str, other: Cursor) -> Self:
        """Add another feature map of the same shape; the wider receptive field counts."""
        self.cursor = self.cursor._replace(field=_wider(self.cursor, other))
        return self._note(path, "add")

    def concat(self, path: str, other: Cursor) -> Self:
        """Concatenate another feature map of the same size."""
        channels, height, width = self.cursor.shape
        shape = (channels + other.shape[0], height, width)
        self.cursor = self.cursor._replace(shape=shape, field=_wider(self.cursor, other))
        return self._note(path, "concat")

    def _window(self, kernel: int, stride: int, out_channels: int) -> None:
        (_, height, width), field, step = self.cursor
        shape = (out_channels, _positions(height, stride), _positions(width, stride))
        wider = None if field is None else field + (kernel - 1) * step
        self.cursor = Cursor(shape, wider, step * stride)

    def _note(  # noqa: PLR0913  # a layer has as many properties
        self,
        path: str,
        kind: LayerKind,
        parameters: int = 0,
        macs: int = 0,
        *,
        kernel: int | None = None,
        stride: int | None = None,
        groups: int | None = None,
    ) -> Self:
        self._layers.append(
            Layer(
                path=path,
                kind=kind,
                output_shape=self.cursor.shape,
                parameters=parameters,
                macs=macs,
                kernel=kernel,
                stride=stride,
                groups=groups,
                receptive_field=self.cursor.field,
            )
        )
        return self


def _positions(side: int, stride: int) -> int:
    """Positions of a window along one side, with the padding that rounds up."""
    return (side - 1) // stride + 1


def _wider(one: Cursor, other: Cursor) -> int | None:
    if one.field is None or other.field is None:
        return None
    return max(one.field, other.field)
