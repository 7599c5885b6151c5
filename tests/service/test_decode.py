import io
import struct
import subprocess
import sys
import timeit
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.preprocessing import FORMATS, Preprocessing
from service.decode import MAX_SIDE, open_image, read_image
from service.errors import ImageTooLargeError, InvalidImageError, ServiceError
from tests.service.pictures import encode, png_by_hand

SPEC = Preprocessing(resize=28, crop=28, channels=1, mean=(0.0,), std=(1.0,))
LIMIT = 25_000_000
ORIENTATION = 0x0112


def decode(payload: bytes, max_pixels: int = LIMIT, index: int = 0) -> Image.Image:
    """Both steps, as the classifier takes them."""
    return read_image(open_image(payload, max_pixels, index), SPEC, index)


def striped(width: int = 40, height: int = 30) -> Image.Image:
    """A picture in which no two columns are alike, nor its halves."""
    columns = np.linspace(0, 250, width).astype(np.uint8)
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = columns
    pixels[: height // 2, :, 1] = 200
    return Image.fromarray(pixels)


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_picture_is_read_in_each_format(file_format: str) -> None:
    picture = striped()

    decoded = decode(encode(picture, file_format))

    assert decoded.mode == "RGB"
    assert decoded.size == (40, 30)
    difference = np.asarray(decoded, int) - np.asarray(picture, int)
    assert np.abs(difference).mean() < 12  # JPEG, WebP and GIF's palette lose a little


@pytest.mark.parametrize("file_format", ["PNG", "BMP"])
def test_a_lossless_format_loses_nothing(file_format: str) -> None:
    decoded = decode(encode(striped(), file_format))

    assert decoded.tobytes() == striped().tobytes()


@pytest.mark.parametrize(
    "file_format", ["TIFF", "EPS", "PPM", "ICO", "PDF", "TGA", "PCX", "SGI", "DDS", "JPEG2000"]
)
def test_a_format_that_is_none_of_ours_is_refused(file_format: str) -> None:
    payload = encode(striped(), file_format)

    with pytest.raises(InvalidImageError, match="no JPEG, PNG, WEBP, GIF or BMP file"):
        decode(payload)


@pytest.mark.parametrize(
    "payload", [b"", b"\0", b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\xff\xd8\xff"]
)
def test_bytes_that_are_no_picture_are_refused_with_their_index(payload: bytes) -> None:
    with pytest.raises(InvalidImageError) as refused:
        decode(payload, index=3)

    assert refused.value.index == 3
    assert f"{len(payload):,} bytes" in str(refused.value)


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_truncated_picture_is_refused_or_read_but_breaks_nothing(file_format: str) -> None:
    whole = encode(striped(), file_format)
    outcomes: list[tuple[int, int] | str] = []

    for length in range(0, len(whole), 10):
        try:
            outcomes.append(decode(whole[:length]).size)
        except ServiceError as error:
            outcomes.append(error.code)

    assert set(outcomes) <= {"invalid_image", (40, 30)}
    assert outcomes[:5] == ["invalid_image"] * 5
    assert outcomes[len(outcomes) // 2] == "invalid_image"


def test_a_truncated_picture_says_which_it_was_and_what_to_send() -> None:
    payload = encode(striped(), "JPEG")[:-200]

    with pytest.raises(InvalidImageError, match="Send a whole, undamaged file") as refused:
        decode(payload, index=7)

    assert refused.value.index == 7


def test_a_bomb_is_refused_at_once_and_without_memory() -> None:
    bomb = png_by_hand(30_000, 30_000, 1, 0, bytes(30_000 // 8))
    code = (
        "import resource, sys, time\n"
        "from service.decode import open_image\n"
        "from service.errors import ImageTooLargeError\n"
        "bomb = sys.stdin.buffer.read()\n"
        "before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()\n"
        "try:\n    open_image(bomb, 25_000_000)\n"
        "except ImageTooLargeError as error:\n    print(error)\n"
        "print(time.perf_counter() - began)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )

    run = subprocess.run(
        [sys.executable, "-c", code],
        input=bomb,
        capture_output=True,
        timeout=30,
        check=True,
        cwd=Path(__file__).parents[2],
    )

    message, seconds, kibibytes = run.stdout.decode().splitlines()
    assert len(bomb) < 200_000
    assert message == (
        "The image has more than 89,478,485 pixels; the limit is 25,000,000 in all, 16,384 on a "
        "side and a side ratio of 200. Send a smaller image, or raise RESNET_MAX_PIXELS."
    )
    assert float(seconds) < 0.5
    assert int(kibibytes) < 10_000  # decoded, it would be 900 MB


@pytest.mark.parametrize(
    ("width", "height"),
    [
        (5_001, 5_000),  # over our limit of pixels
        (10_000, 10_000),  # Pillow only warns
        (MAX_SIDE + 1, 1_000),
        (1_000, MAX_SIDE + 1),
        (201, 1),
        (1, 201),
        (0x7FFF_FFFF, 0x7FFF_FFFF),
    ],
)
def test_a_picture_with_too_many_pixels_or_too_long_a_side_is_refused(
    width: int, height: int
) -> None:
    payload = resized_header(width, height)

    with pytest.raises(ImageTooLargeError) as refused:
        open_image(payload, LIMIT, index=2)

    assert refused.value.index == 2
    assert "25,000,000" in str(refused.value)


@pytest.mark.parametrize(
    ("width", "height"), [(5_000, 5_000), (MAX_SIDE, 1_000), (200, 1), (1, 200), (1, 1)]
)
def test_a_picture_at_a_limit_is_opened(width: int, height: int) -> None:
    assert open_image(resized_header(width, height), LIMIT).size == (width, height)


def resized_header(width: int, height: int) -> bytes:
    """A BMP that says it has a size; the pixels are not there."""
    payload = bytearray(encode(Image.new("L", (1, 1)), "BMP"))
    payload[18:26] = struct.pack("<ii", width, height)
    return bytes(payload)


def test_the_limit_of_pixels_is_the_callers() -> None:
    payload = encode(Image.new("L", (10, 10)))

    assert decode(payload, max_pixels=100).size == (10, 10)
    with pytest.raises(ImageTooLargeError, match=r"has 10 x 10 pixels; the limit is 99 "):
        decode(payload, max_pixels=99)


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG"])
def test_an_animation_gives_its_first_frame(file_format: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]

    payload = encode(frames[0], file_format, save_all=True, append_images=frames[1:], duration=100)

    assert Image.open(io.BytesIO(payload)).is_animated  # type: ignore[attr-defined]
    red, green, blue = np.asarray(decode(payload))[4, 4].tolist()
    assert red > 240
    assert green < 15
    assert blue < 15


def test_a_long_animation_costs_no_more_than_its_first_frame() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (100, 48, 48, 3), np.uint8)
    frames = [Image.fromarray(frame) for frame in noise]
    payload = encode(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=20)
    still = encode(frames[0], "GIF")

    animated_s = min(timeit.repeat(lambda: decode(payload), number=1, repeat=5))
    still_s = min(timeit.repeat(lambda: decode(still), number=1, repeat=5))

    assert animated_s < 10 * still_s + 0.02  # all frames would be a hundred times


def test_two_pictures_in_one_jpeg_file_give_the_first() -> None:
    payload = encode(striped(), "MPO", save_all=True, append_images=[Image.new("RGB", (40, 30))])

    decoded = decode(payload)

    assert np.abs(np.asarray(decoded, int) - np.asarray(striped(), int)).mean() < 12


def test_a_jpeg_of_endless_scans_is_refused_and_a_progressive_one_is_not() -> None:
    payload = encode(striped(), "JPEG", progressive=True)
    start = payload.rindex(b"\xff\xda")
    last = payload[start:-2]  # up to the end's marker

    endless = payload[:-2] + 100 * last + payload[-2:]

    assert decode(payload).size == striped().size
    with pytest.raises(InvalidImageError, match=r"has 1\d\d scans; the limit is 64"):
        decode(endless)


def test_a_film_behind_a_jpeg_is_not_taken_for_scans() -> None:
    film = np.random.default_rng(0).integers(0, 256, 20_000_000, np.uint8).tobytes()
    payload = encode(striped(), "JPEG")

    assert film.count(b"\xff\xda") > 200
    assert decode(payload + film).size == striped().size


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "corner"),
    # Where the stored picture's upper left corner comes to lie: (bottom, right).
    [
        (1, (0, 0)),
        (2, (0, 1)),
        (3, (1, 1)),
        (4, (1, 0)),
        (5, (0, 0)),
        (6, (0, 1)),
        (7, (1, 1)),
        (8, (1, 0)),
    ],
)
def test_a_picture_that_lies_is_stood_up(
    file_format: str, orientation: int, corner: tuple[int, int]
) -> None:
    stored = Image.new("L", (24, 16), 0)
    stored.paste(255, (0, 0, 8, 8))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation

    decoded = decode(encode(stored.convert("RGB"), file_format, exif=exif))

    assert decoded.size == ((16, 24) if orientation >= 5 else (24, 16))
    pixels = np.asarray(decoded.convert("L"))
    seen = {
        (bottom, right): bool(pixels[-3 if bottom else 3, -3 if right else 3] > 128)
        for bottom in (0, 1)
        for right in (0, 1)
    }
    assert seen == {place: place == corner for place in seen}


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_an_orientation_that_does_not_exist_turns_nothing(orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation

    decoded = decode(encode(striped(), "PNG", exif=exif))

    assert decoded.tobytes() == striped().tobytes()


def test_a_large_jpeg_is_shrunk_while_it_is_read() -> None:
    decoded = decode(encode(Image.new("RGB", (2_000, 1_500)), "JPEG"))

    assert 56 <= min(decoded.size) < 1_500 / 4
