"""Files of each format are read; others, damaged ones and no images at all are refused."""

import numpy as np
import pytest

from model.images.image_file import FORMATS
from service.errors import InvalidImageError, ServiceError
from tests.service.decoding import decode
from tests.service.images import encode, striped


@pytest.mark.parametrize("file_format", FORMATS)
def test_an_image_is_read_in_each_format(file_format: str) -> None:
    image = striped()

    decoded = decode(encode(image, file_format))

    assert decoded.mode == "RGB"
    assert decoded.size == (40, 30)
    difference = np.asarray(decoded, int) - np.asarray(image, int)
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

    with pytest.raises(InvalidImageError, match="not a JPEG, PNG, WEBP, GIF or BMP file"):
        decode(payload)


@pytest.mark.parametrize(
    "payload", [b"", b"\0", b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\xff\xd8\xff"]
)
def test_bytes_that_are_no_image_are_refused_with_their_index(payload: bytes) -> None:
    with pytest.raises(InvalidImageError) as refused:
        decode(payload, index=3)

    assert refused.value.index == 3
    assert f"{len(payload):,} bytes" in str(refused.value)


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_truncated_image_is_refused_or_read_but_breaks_nothing(file_format: str) -> None:
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


def test_a_truncated_image_says_which_it_was_and_what_to_send() -> None:
    payload = encode(striped(), "JPEG")[:-200]

    with pytest.raises(InvalidImageError, match="Send a complete, undamaged file") as refused:
        decode(payload, index=7)

    assert refused.value.index == 7
