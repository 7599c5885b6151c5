"""Of a JPEG counts what it takes to decode it shrunk."""

import io

import pytest
from PIL import Image

from model.preprocessing import Preprocessing, shrink_on_load, shrinking
from service.errors import ImageTooLargeError
from service.preprocessing.decode import MAX_WHOLE_PIXELS, counted_pixels, open_image, read_image
from tests.service.decoding import LIMIT, SPEC
from tests.service.images import encode

LARGE_INPUT = Preprocessing(resize=2_048, crop=2_048, channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)


def header(width: int, height: int, *, progressive: bool = False, **options: object) -> bytes:
    """A JPEG that says it has a size; the pixels are not there."""
    mode = str(options.pop("mode", "RGB"))
    payload = bytearray(
        encode(Image.new(mode, (16, 16)), "JPEG", progressive=progressive, **options)
    )
    at = payload.index(b"\xff\xc2" if progressive else b"\xff\xc0")
    payload[at + 5 : at + 9] = height.to_bytes(2) + width.to_bytes(2)
    return bytes(payload)


def test_a_photograph_of_50_megapixels_is_read_by_default() -> None:
    payload = encode(Image.new("RGB", (8_160, 6_144), "red"), "JPEG")

    decoded = read_image(open_image(payload, LIMIT, spec=SPEC), SPEC)

    assert decoded.size == (1_020, 768)
    assert decoded.getpixel((0, 0)) == (254, 0, 0)


@pytest.mark.parametrize(
    ("payload", "counted"),
    [
        (header(8_160, 6_144), 12_533_760),
        (header(12_000, 9_000), 27_000_000),
        (header(16_320, 12_240), 49_939_200),
        (header(8_000, 6_000, progressive=True), 18_000_000),  # 4:2:0: one and a half channels
        (header(8_000, 6_000, progressive=True, subsampling=0), 36_000_000),
        (header(8_000, 6_000, progressive=True, mode="CMYK", subsampling=0), 48_000_000),
        (header(8_000, 6_000, progressive=True, mode="L"), 12_000_000),
        (header(8_000, 300), 2_400_000),  # four times the network's input: it cannot be shrunk
    ],
)
def test_a_jpeg_counts_by_what_its_decoder_holds(payload: bytes, counted: int) -> None:
    spec = Preprocessing(resize=256, crop=224, channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)

    assert counted_pixels(open_image(payload, counted, spec=spec), spec) == counted
    with pytest.raises(ImageTooLargeError, match=f"the limit is {counted - 1:,} in all"):
        open_image(payload, counted - 1, spec=spec)


def test_channels_that_come_one_by_one_count_as_progressive_ones() -> None:
    payload = bytearray(header(8_000, 6_000, subsampling=0))
    scan = payload.index(b"\xff\xda")
    payload[scan + 2 : scan + 14] = b"\0\x08\1" + payload[scan + 5 : scan + 7] + b"\0\x3f\0"

    assert counted_pixels(open_image(bytes(payload), LIMIT * 2, spec=SPEC), SPEC) == 36_000_000


def test_what_cannot_be_shrunk_counts_in_full() -> None:
    with pytest.raises(ImageTooLargeError, match=r"has 8,000 x 6,000 pixels; the limit is 25,000,"):
        open_image(header(8_000, 6_000), LIMIT, spec=LARGE_INPUT)


def test_the_refusal_says_what_counts() -> None:
    with pytest.raises(ImageTooLargeError) as refused:
        open_image(header(12_000, 9_000), LIMIT, spec=SPEC)

    assert str(refused.value) == (
        "The image has 12,000 x 9,000 pixels (a JPEG's, which count as 27,000,000); the limit is "
        "25,000,000 in all, 16,384 on a side and a side ratio of 200. Send a smaller image, or "
        "raise RESNET_MAX_PIXELS."
    )


def test_another_format_has_a_limit_that_no_setting_raises() -> None:
    payload = encode(Image.new("1", (9_000, 8_900)))

    with pytest.raises(ImageTooLargeError, match=r"80,000,000 in all.*or send a JPEG\.$"):
        open_image(payload, 2 * MAX_WHOLE_PIXELS)


def test_a_webp_over_pillows_limit_is_refused_before_its_canvas_is_made() -> None:
    payload = bytearray(encode(Image.new("RGBA", (16, 16), "#ff000080"), "WEBP"))
    assert payload[12:16] == b"VP8X"
    payload[24:30] = 2 * (16_000).to_bytes(3, "little")

    with pytest.raises(ImageTooLargeError, match="more than 89,478,485 pixels"):
        open_image(bytes(payload), LIMIT)


@pytest.mark.parametrize("size", [(55, 900), (56, 56), (112, 111), (224, 500), (448, 449), (9, 9)])
def test_shrinking_is_what_pillow_does(size: tuple[int, int]) -> None:
    image = Image.open(io.BytesIO(encode(Image.new("L", size), "JPEG")))
    shrink_on_load(image, SPEC)

    scale = shrinking(size, SPEC)

    assert image.size == tuple(-(-side // scale) for side in size)
