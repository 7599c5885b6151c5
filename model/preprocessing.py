"""Turn an image into the uint8 tensor that the network reads: one transform for all.

Training data, the evaluation splits and the server call the same two steps, with the
`Preprocessing` that the artifact's manifest carries, so they cannot drift apart:

1. `upright`: whatever mode and rotation the file had -> an upright RGB or L image.
2. `preprocess`: that image -> uint8 (S, S, C). Scaling to floats, mean and std are in
   the network's graph.

Pillow and NumPy only: the server has no torch.
"""

from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator

from model.images.deep_png import reopen_lower, strips
from model.images.orientation import TURNS, orientation
from model.limits import ImageSize, Share

Pixels = NDArray[np.uint8]
Box = tuple[float, float, float, float]


STRIP_PIXELS = 65_536
"""What is laid over white at once."""


class Preprocessing(BaseModel):
    """How an image becomes the network's input."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    resize: ImageSize = Field(description="Length of the shorter side after resizing, in pixels.")
    crop: ImageSize = Field(description="Side of the square cut from the centre, in pixels.")
    channels: Literal[1, 3]
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    mean: tuple[Share, ...] = Field(description="Per channel, in [0, 1]; applied in the graph.")
    std: tuple[Share, ...] = Field(description="Per channel, in [0, 1]; applied in the graph.")
    grey_bits: Literal[8, 10, 12, 14, 16] = Field(
        16,
        description="Bits that images of 16 bits use: 12 if the camera that saved them has 12.",
        exclude_if=lambda bits: bits == 16,  # as most have, and all before there was this field
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.crop > self.resize:
            raise ValueError(f"`crop` (={self.crop}) must be at most `resize` (={self.resize}).")
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(f"`mean` and `std` must have {self.channels} numbers each.")
        if min(self.std) <= 0:
            raise ValueError(f"`std` (={self.std}) must be positive.")
        return self


def shrink_on_load(image: Image.Image, spec: Preprocessing) -> None:
    """Let the JPEG decoder halve a large image up to three times while it reads.

    The image stays at least twice the size that `preprocess` makes of it. To be called
    on a file just opened; other formats take no notice.

    Source:
        `Image.draft`; decode and resize of 4000 x 3000 fall from about 120 to 20 ms.
    """
    image.draft(None, (2 * spec.resize, 2 * spec.resize))


def shrinking(size: tuple[int, int], spec: Preprocessing) -> int:
    """Give the factor by which `shrink_on_load` shrinks a JPEG: 1, 2, 4 or 8."""
    spare = min(size) // (2 * spec.resize)
    return max(scale for scale in (1, 2, 4, 8) if scale <= max(1, spare))


def upright(image: Image.Image, grey_bits: int = 16) -> Image.Image:
    """Bring any image that our formats can hold to RGB or L, upright.

    Alpha goes over white, images of 16 bits keep the upper eight of the bits that are used
    (Pillow's own conversion would clip greys to white, and colours to black), CMYK is converted,
    the EXIF rotation is applied.

    Args:
        image: Just opened.
        grey_bits: Bits that images of 16 bits use; larger values become white.

    Raises:
        OSError: If the image's data is broken (decoding happens here).
        ValueError: If the mode is one that no accepted format has.
    """
    lower = None if grey_bits == 16 else reopen_lower(image)  # of 16, Pillow keeps the upper eight
    image.load()  # a PNG may have its orientation after the pixels
    turn = TURNS.get(orientation(image.info))
    if lower is not None:
        flat = _high_colours(image, lower, grey_bits)
    elif image.mode in ("RGB", "L") and "transparency" not in image.info:  # most often
        flat = image
    else:
        flat = _to_rgb_or_grey(image, grey_bits)
    return flat if turn is None else flat.transpose(turn)


def _to_rgb_or_grey(image: Image.Image, grey_bits: int) -> Image.Image:
    match image.mode:
        case "1" if "transparency" not in image.info:
            return image.convert("L")
        case "1" | "L" | "LA" | "La":
            return _over_white(image, "LA")
        case "RGB" | "RGBA" | "RGBa" | "PA":
            return _over_white(image, "RGBA")
        case "P":
            if "transparency" in image.info:
                return _over_white(image, "RGBA")
            return image.convert("RGB")
        case "CMYK" | "YCbCr" | "LAB" | "HSV" | "RGBX":
            return image.convert("RGB")
        case "I" | "I;16" | "I;16L" | "I;16B" | "I;16N":
            return _high_bytes(image, grey_bits)
        case mode:
            raise ValueError(f"`image.mode` (={mode!r}) is none that the accepted formats have.")


def _over_white(image: Image.Image, mode: str) -> Image.Image:
    """Any mode, by way of LA or RGBA -> L or RGB, as it looks on white paper.

    Strip by strip, since the steps in between take 20 bytes a pixel.
    """
    width, height = image.size
    rows = max(1, STRIP_PIXELS // width)
    if rows >= height:
        return _strip_over_white(image, mode)
    flat = Image.new(mode[:-1], image.size)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        flat.paste(_strip_over_white(strip, mode), (0, top))
    return flat


def _strip_over_white(image: Image.Image, mode: str) -> Image.Image:
    ink = image.convert(mode).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, ink).convert(mode[:-1])


def _high_bytes(image: Image.Image, grey_bits: int) -> Image.Image:
    """Greys of 16 bits -> L, the upper eight of the bits that are used; what is above is white."""
    values = np.asarray(image)  # uint16, or int32 for mode I
    grey = _upper_eight(values, grey_bits)
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = 255
    return Image.fromarray(grey)


def _high_colours(image: Image.Image, lower: Image.Image, grey_bits: int) -> Image.Image:
    """Colours of 16 bits -> RGB, as `_high_bytes` does; alpha goes over white."""
    flat = Image.new("RGB", image.size)
    top, key = 0, image.info.get("transparency")
    for values, alpha in strips(image, lower):  # (H, W, 3), (H, W)
        seen = alpha if key is None else np.where((values == key).all(-1), np.uint8(0), alpha)
        rgba = np.dstack((_upper_eight(values, grey_bits), seen))
        strip = Image.fromarray(rgba)
        flat.paste(_strip_over_white(strip, "RGBA"), (0, top))
        top += strip.height
    return flat


def _upper_eight(values: NDArray[np.integer], bits: int) -> Pixels:
    """Scale values of so many bits to 8; larger ones become 255."""
    scaled = values >> (bits - 8)
    return scaled.clip(0, 255, out=scaled).astype(np.uint8)


def lies_down(image: Image.Image) -> bool:
    """Whether EXIF swaps width and height; to be called after the file was decoded."""
    return orientation(image.info) in (5, 6, 7, 8)


def crop_box(width: int, height: int, spec: Preprocessing) -> Box:
    """Give the square that the network sees.

    Args:
        width: Of the upright image, in pixels.
        height: Of the upright image, in pixels.
        spec: Sizes; `crop / resize` is the share of the shorter side that is kept.

    Returns:
        (left, top, right, bottom) in pixels of the upright image, centred.
    """
    side = min(width, height) * spec.crop / spec.resize
    left, top = (width - side) / 2, (height - side) / 2
    return (left, top, left + side, top + side)


def preprocess(image: Image.Image, spec: Preprocessing, box: Box | None = None) -> Pixels:
    """Cut the centre square and bring it to the network's size in one resampling.

    Only the square is resampled, so an image of 1 x 10,000 costs no more than another.
    Pillow's filters antialias when they shrink. An image that has the size already
    passes untouched, bit for bit.

    Args:
        image: RGB or L, any size of at least 1 x 1 pixel; see `upright`.
        spec: Sizes in pixels, channels, filter.
        box: To cut instead, in pixels; training augments images with it.

    Returns:
        uint8 (crop, crop, channels), C-contiguous.

    Raises:
        ValueError: If the image's mode is neither RGB nor L.
    """
    if image.mode not in ("RGB", "L"):
        raise ValueError(f"`image.mode` (={image.mode!r}) must be 'RGB' or 'L'; see `upright`.")
    mode = "L" if spec.channels == 1 else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    size = (spec.crop, spec.crop)
    if box is None and (image.size != size or spec.resize != spec.crop):
        box = crop_box(*image.size, spec)
    if box is not None:
        image = image.resize(size, Image.Resampling[spec.interpolation.upper()], box=box)
    pixels = np.frombuffer(bytearray(image.tobytes()), np.uint8)  # faster than np.array(image)
    return pixels.reshape(spec.crop, spec.crop, spec.channels)
