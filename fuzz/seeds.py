"""Inputs to start from: small ones of every kind, made here, so that no corpus is kept."""

import io
import json
import zlib
from typing import Any

import numpy as np
from PIL import Image

from model.images.image_file import FORMATS

KEYS = b"# a\nshop: key\napp: sha256:" + b"0" * 64 + b" predict admin\n"


def images() -> list[bytes]:
    """One image of each format, with and without what formats add."""
    noise = np.random.default_rng(1).integers(0, 255, (12, 17, 4), np.uint8)
    image, found = Image.fromarray(noise[..., :3]), []
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    variants: list[tuple[Image.Image, str, dict[str, Any]]] = [
        *((image, each, {}) for each in FORMATS),
        *((image, each, {"exif": exif}) for each in ("JPEG", "PNG", "WEBP")),
        (Image.fromarray(noise), "PNG", {}),
        (Image.fromarray(noise), "WEBP", {"lossless": True}),
        (image.convert("P"), "PNG", {"transparency": 3}),
        (image.convert("P"), "BMP", {}),
        (image.convert("CMYK"), "JPEG", {}),
        (image, "JPEG", {"progressive": True}),
        (image, "GIF", {"save_all": True, "append_images": [image.rotate(90)]}),
        (image, "MPO", {"save_all": True, "append_images": [image]}),
        (Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20)), "PNG", {}),
    ]
    for picture, name, options in variants:
        file = io.BytesIO()
        picture.save(file, name, **options)
        found.append(file.getvalue())
    return found


def forms() -> list[bytes]:
    """Forms with the boundary `x`."""
    png = images()[1]
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n'
    option = b'--x\r\nContent-Disposition: form-data; name="top_k"\r\n\r\n3\r\n'
    coded = b"Content-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=\r\n"
    return [
        head + b"Content-Type: image/png\r\n\r\n" + png + b"\r\n--x--\r\n",
        option + head + b"\r\n" + png + b"\r\n" + head + coded + b"--x--\r\n",
        b"preamble\r\n" + head + b"\r\n\r\n--x--",
    ]


def jsons() -> list[bytes]:
    """Images in base64, in three encodings of text."""
    texts = ['{"images": ["iVBORw0KGgo="]}', '{"images": ["data:image/png;base64,iVBO", "_-"]}']
    return [text.encode(coding) for text in texts for coding in ("utf-8", "utf-16", "utf-32")]


def v2s() -> list[bytes]:
    """Bodies as `fuzz.targets` splits them."""
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 2, 2, 1], "data": [0, 1, 2, 255]}
    files = {"name": "images", "datatype": "BYTES", "shape": [1], "data": ["iVBORw0KGgo="]}
    binary = {**tensor, "parameters": {"binary_data_size": 4}}
    binary.pop("data")
    asked = {"name": "logits", "parameters": {"classification": 3, "binary_data": True}}
    plain = [
        json.dumps({"id": "1", "inputs": [each], "outputs": [asked]}) for each in (tensor, files)
    ]
    head = json.dumps({"inputs": [binary], "parameters": {"timeout": 5}}).encode()
    return [
        b"\2\0" + plain[0].encode(),
        b"\3\0" + plain[1].encode(),
        bytes([0, len(head)]) + head + b"1234",
        b"\0\0" + b"1234",
    ]


def headers() -> list[bytes]:
    """Lines of headers as `fuzz.targets` splits them."""
    return [
        b'\0for=192.0.2.1;proto=https, for="[fd00::1]:80"',
        b"\1192.0.2.1, 10.0.0.2\n\2https\n\3/resnet",
        b'\0for="_hidden";by=unknown\n\1::ffff:192.0.2.1',
    ]


def bodies() -> list[bytes]:
    """Requests as `fuzz.service` splits them."""
    form, text, v2, files = forms(), jsons(), v2s(), images()
    return [
        *(b"\0\0\0" + each for each in files),
        *(b"\1\1\0" + each for each in form),
        *(b"\0\2\0" + each for each in text),
        *(bytes([2, 3, 0]) + each[2:] for each in v2),
        bytes([3, 2, 0]) + v2[1][2:],
        bytes([0, 0, 4]) + zlib.compress(files[0]),
        bytes([4, 2, 0]) + b'{"ready": true}',
    ]
