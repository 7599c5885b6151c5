"""The labels of a checkpoint: how many its head tells, and what they are called."""

from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from model.architecture import get_architecture
from model.labels import IMAGENET, name_labels, read_labels
from model.network import build
from model.weights import fit_to_weights, load_weights
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


def test_labels_saved_by_windows_editors_have_no_mark(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes("\ufeffcat\r\ndog\r\n".encode())

    assert read_labels(tmp_path / "labels.txt") == ("cat", "dog")


@pytest.mark.parametrize("text", ["", "\n\n", "cat\ndog\ncat\n"])
def test_a_file_of_labels_must_name_each_once(text: str, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text(text)

    with pytest.raises(ValueError, match=r"labels\.txt must name labels"):
        read_labels(tmp_path / "labels.txt")
