"""The labels of a checkpoint: how many its head tells, and what they are called."""

import json
import os
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from model.architecture.family import get_architecture
from model.network.resnet import build
from model.weights.labels import IMAGENET, name_labels, read_labels
from model.weights.loading import fit_to_weights, load_weights
from tests.model.published import TWO, torchvision_resnet

# How many


def test_another_number_of_labels_leaves_the_head_as_it_was_drawn_and_says_so() -> None:
    network = build("resnet18", num_classes=7)
    before = network.get_parameter("fc.weight").clone()

    report = load_weights(network, torchvision_resnet(TWO, bottleneck=False))

    assert torch.equal(network.get_parameter("fc.weight"), before)
    assert report.mismatched == (
        "fc.weight: the file has (1000, 512), the network (7, 512)",
        "fc.bias: the file has (1000,), the network (7,)",
    )
    assert report.loaded == report.total - 2


def test_a_head_that_is_no_matrix_is_no_head() -> None:
    fitted = fit_to_weights(get_architecture("resnet20"), {"fc.weight": torch.tensor(1.0)})

    assert fitted.num_classes == 10


# What they are called


def test_imagenets_labels_stand_in_the_order_of_its_synsets() -> None:
    labels = read_labels(IMAGENET)

    assert len(labels) == len(set(labels)) == 1000
    known = {0: "tench", 134: "crane bird", 207: "golden retriever", 281: "tabby", 517: "crane"}
    known |= {
        409: "analog clock",
        559: "folding chair",
        639: "maillot tank suit",
        817: "sports car",
    }
    known |= {920: "traffic light", 954: "banana", 985: "daisy", 999: "toilet tissue"}
    assert {index: labels[index] for index in known} == known
    assert name_labels(1000) == labels


def test_other_labels_are_numbered() -> None:
    assert name_labels(3) == ("label 0", "label 1", "label 2")


def test_labels_are_read_a_line_each(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\n hot dog \n\n")

    assert read_labels(tmp_path / "labels.txt") == ("cat", "hot dog")
    with pytest.raises(ValueError, match="cannot be read as labels"):
        read_labels(tmp_path / "none.txt")


def test_labels_may_have_joiners_and_blanks_of_any_kind(tmp_path: Path) -> None:
    names = (
        "\u0645\u06cc\u200c\u0631\u0648\u062f",
        "\U0001f468\u200d\U0001f52c",
        "d\u00e9j\u00e0\u00a0vu",
    )
    (tmp_path / "labels.txt").write_text("\n".join(names), encoding="utf-8")

    assert read_labels(tmp_path / "labels.txt") == names


def test_labels_saved_by_windows_editors_have_no_mark(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes("\ufeffcat\r\ndog\r\n".encode())

    assert read_labels(tmp_path / "labels.txt") == ("cat", "dog")


@pytest.mark.parametrize("text", ["", "\n\n", "cat\ndog\ncat\n"])
def test_a_file_of_labels_must_name_each_once(text: str, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text(text)

    with pytest.raises(ValueError, match=r"labels\.txt must name labels"):
        read_labels(tmp_path / "labels.txt")


NAMES = ("crane", "été", "hot dog")


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffcrane\r\n\u00e9t\u00e9\r\nhot dog\r\n\r\n".encode(),
        "crane\rété\r hot dog \r".encode(),
        "\n crane\nété\nhot dog".encode("utf-16"),
        "\ufeffcrane\nété\nhot dog\n".encode("utf-16-be"),
        json.dumps(NAMES).encode(),
        b"\xef\xbb\xbf" + json.dumps(NAMES, ensure_ascii=False).encode(),
        b'{"2": "hot dog", "0": "crane", "1": "\\u00e9t\\u00e9"}',
        json.dumps({"hot dog": 2, "crane": 0, "été": 1}).encode(),
        json.dumps({"model_type": "resnet", "id2label": dict(enumerate(NAMES))}).encode(),
        json.dumps({"classes": NAMES}).encode(),
        json.dumps({str(n): [f"n0{n}", name] for n, name in enumerate(NAMES)}).encode(),
        "{0: 'crane',\n 1: 'été',\n 2: 'hot dog'}".encode(),
    ],
)
def test_labels_are_read_in_the_forms_that_people_have_them(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "labels").write_bytes(content)

    assert read_labels(tmp_path / "labels") == NAMES


def test_two_labels_of_one_name_are_told_apart_by_their_synsets(tmp_path: Path) -> None:
    index = {"0": ["n02012849", "crane"], "1": ["n03126707", "crane"], "2": ["n0", "cat"]}
    (tmp_path / "index.json").write_text(json.dumps(index))

    labels = read_labels(tmp_path / "index.json")

    assert labels == ("crane (n02012849)", "crane (n03126707)", "cat")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'["cat", "dog"', "begins as JSON does"),
        (b'["cat", ["dog"]]', "a form that is not known"),
        (b"[1, 2]", "a form that is not known"),
        (b"[]", "names none"),
        (b"{}", "names none"),
        (b'{"0": "cat", "2": "dog"}', "the numbers 0 to the last"),
        (b'{"cat": 0, "dog": 0}', "the numbers 0 to the last"),
        (b'{"cat": 0, "cat": 1}', "'cat' twice"),
        (b'{"cat": true, "dog": false}', "a form that is not known"),
        (b'["cat", " "]', "name 2 is empty"),
        (b"cat\n\ndog\n", "name 2 is empty"),
        (b"cat\n d\x07g\n", "name 2 is 'd"),
        ("cat\nd\u200bog\n".encode(), r"name 2 is 'd\\u200bog'"),
        ("cat\n\u200d\n".encode(), r"name 2 is '\\u200d'"),
        (b"cat\n" + b"x" * 501, "name 2 is 'xxxx"),
        ("cat\nc\u200dat\n".encode(), "twice, as the outputs 0 and 1"),
        ("é\ne\u0301\n".encode(), "twice, as the outputs 0 and 1"),
        (b"hot dog\nhot  dog\n", "twice"),
        ("été".encode("latin-1"), "not text in UTF-8"),
        (b"[" * 100_000, "begins as JSON does"),
        (b"\x80\x02}q\x00" * 3, "not text in UTF-8"),
    ],
)
def test_labels_in_no_known_form_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "labels").write_bytes(content)

    with pytest.raises(ValueError, match=message) as refused:
        read_labels(tmp_path / "labels")

    assert "\n" not in str(refused.value)


def test_what_is_no_file_of_labels_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ValueError, match="it is no regular file"):
            read_labels(path)
