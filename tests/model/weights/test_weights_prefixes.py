"""Weights behind any wrapper and prefix are found, and the best of several is taken."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor

from model.architecture.family import get_architecture
from model.weights.file import WeightsError, read_weights
from model.weights.loading import fit_to_weights, match_weights
from model.weights.report import LoadReport
from tests.model.published import TWO, State, cifar_resnet, torchvision_resnet

RESNET20, RESNET18 = get_architecture("resnet20"), get_architecture("resnet18")
WHOLE = torchvision_resnet(TWO, bottleneck=False)


def _loaded(state: Mapping[str, Tensor]) -> LoadReport:
    return match_weights(fit_to_weights(RESNET20, state), state)[1]


def _zeros(state: State) -> State:
    return {key: torch.zeros_like(tensor) for key, tensor in state.items()}


def _behind(prefix: str, state: State) -> State:
    return {f"{prefix}{key}": tensor for key, tensor in state.items()}


@pytest.mark.parametrize(
    "wrapper",
    [
        "model_state_dict",
        "net_state_dict",
        "net",
        "params",
        "weights",
        "model_state",
        "ema",
        "teacher",
        "network",
        "module",
        "state_dict",
        "state_dict_ema",
        "model",
        "generator",
        "whatever",
        "state.model",
        "a.b.c",
    ],
)
@pytest.mark.parametrize("loss", [0.4, torch.tensor(0.4), torch.ones(7)])
def test_weights_are_found_under_any_wrapper_and_it_is_named(
    wrapper: str, loss: object, tmp_path: Path
) -> None:
    content: dict[str, object] = dict(cifar_resnet(3))
    for name in reversed(wrapper.split(".")):
        content = {"epoch": 5, "loss": loss, name: content, "optimizer": {"state": {0: {}}}}
    torch.save(content, tmp_path / "weights.pth")
    lines: list[str] = []

    report = _loaded(read_weights(tmp_path / "weights.pth", RESNET20, lines.append))

    assert report.loaded == report.total
    assert lines[0].startswith(f"weights found under `{wrapper}`")


@pytest.mark.parametrize(
    "prefix",
    [
        "net.",
        "backbone.",
        "encoder.",
        "resnet.",
        "module.resnet.",
        "base_model.",
        "student.",
        "feature_extractor.",
        "model.backbone.",
        "_forward_module.a.b.",
        "module.",
        "_orig_mod.",
    ],
)
@pytest.mark.parametrize("head", ["{}linear", "{}fc.1", "linear", "head.fc", "classifier.1"])
def test_any_prefix_comes_off_also_where_the_head_stands_outside(prefix: str, head: str) -> None:
    state = _behind(prefix, cifar_resnet(3))
    for leaf in ("weight", "bias"):
        state[f"{head.format(prefix)}.{leaf}"] = state.pop(f"{prefix}linear.{leaf}")
    state |= {"loss.weight": torch.ones(10), "criterion.weight": torch.ones(10)}

    report = _loaded(state)

    assert report.loaded == report.total
    assert f"the network's tensors stand behind the prefix `{prefix}`" in list(report.lines())
    assert report.unused == ("loss.weight", "criterion.weight")
    assert not report.beyond + report.beside


@pytest.mark.parametrize("best", ["ema", "model_ema", "teacher", "swa_model", "best_state"])
@pytest.mark.parametrize("last", ["model", "state_dict", "student", "net"])
def test_of_several_networks_averaged_ones_are_taken_and_the_other_named(
    best: str, last: str, tmp_path: Path
) -> None:
    state = cifar_resnet(3)
    torch.save({last: _zeros(state), best: state}, tmp_path / "wrapped.pth")
    lines: list[str] = []

    wrapped = read_weights(tmp_path / "wrapped.pth", RESNET20, lines.append)
    flat = _behind(f"{last}.", _zeros(state)) | _behind(f"{best}.", state)
    loaded, report = match_weights(RESNET20, flat)

    assert lines == [f"weights found under `{best}`; not taken: `{last}`"]
    assert torch.equal(wrapped["linear.weight"], state["linear.weight"])
    assert torch.equal(loaded["fc.weight"], state["linear.weight"])
    assert report.loaded == report.total
    assert not report.beyond + report.beside


def test_the_network_that_fits_is_taken_before_an_averaged_one_that_does_not(
    tmp_path: Path,
) -> None:
    small, deep = cifar_resnet(3), cifar_resnet(5)
    torch.save({"teacher": WHOLE, "student": small}, tmp_path / "distilled.pth")
    parts = {key: value for key, value in small.items() if "running" not in key}
    torch.save({"model": small, "ema": parts}, tmp_path / "parameters.pth")

    assert read_weights(tmp_path / "distilled.pth", RESNET20).keys() == small.keys()
    assert read_weights(tmp_path / "parameters.pth", RESNET20).keys() == small.keys()
    report = _loaded(_behind("teacher.", WHOLE) | _behind("student.", small))
    assert report.loaded == report.total
    assert not report.beyond + report.beside
    assert f"not taken: {len(WHOLE)} tensors of another network, " in "\n".join(report.notes)
    deeper = match_weights(get_architecture("resnet32"), _behind("a.", small) | _behind("b.", deep))
    assert deeper[1].loaded == deeper[1].total


def _transformers(key: str) -> str:
    """Write a key as transformers' `ResNetForImageClassification` does."""
    if key.startswith("fc."):
        return key.replace("fc.", "classifier.1.")
    if key.startswith(("conv1.", "bn1.")):
        layer, leaf = key.split(".")
        part = "convolution" if layer == "conv1" else "normalization"
        return f"resnet.embedder.embedder.{part}.{leaf}"
    stage, block, layer, *rest = key.removeprefix("layer").split(".")
    path = f"resnet.encoder.stages.{int(stage) - 1}.layers.{block}"
    if layer == "downsample":
        part = "convolution" if rest[0] == "0" else "normalization"
        return f"{path}.shortcut.{part}.{rest[1]}"
    part = "convolution" if layer.startswith("conv") else "normalization"
    return f"{path}.layer.{int(layer[-1]) - 1}.{part}.{rest[0]}"


def _sequential(key: str) -> str:
    """Write a key as `nn.Sequential(*list(resnet.children())[:-1])` in a Lightning module does."""
    if key.startswith("fc."):
        return key.replace("fc.", "classifier.")
    part, rest = key.split(".", 1)
    places = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
    return f"feature_extractor.{places[part]}.{rest}"


def _compiled(key: str) -> str:
    """Write a key as a network of compiled and sharded parts has it."""
    part, rest = key.split(".", 1)
    return f"net.{part}._fsdp_wrapped_module._orig_mod.{rest}"


@pytest.mark.parametrize("spell", [_transformers, _sequential, _compiled])
def test_other_spellings_of_the_same_network_are_read(spell: Callable[[str], str]) -> None:
    state = {spell(key): tensor for key, tensor in WHOLE.items()}

    loaded, report = match_weights(fit_to_weights(RESNET18, state), state)

    assert report.loaded == report.total
    assert all(torch.equal(loaded[key], tensor) for key, tensor in WHOLE.items())
    assert not report.unused


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_point_formats_are_read_and_told(kind: torch.dtype) -> None:
    state = {
        key: tensor.to(kind) if tensor.is_floating_point() else tensor
        for key, tensor in cifar_resnet(3).items()
    }

    loaded, report = match_weights(RESNET20, state)

    assert report.loaded == report.total
    assert loaded["fc.weight"].dtype == torch.float32
    assert f"97 tensors of {kind} are read as float32" in report.notes


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda tensor: tensor.to_sparse(), "has a Tensor .*weights must be plain tensors"),
        (lambda tensor: tensor.to("meta"), "has no numbers"),
        (lambda tensor: tensor.to(torch.complex64), "has numbers"),
        (lambda tensor: tensor.to(torch.float8_e4m3fn), "before it was quantized"),
        (lambda tensor: tensor.double() * 1e300, "not finite"),
    ],
)
def test_tensors_that_cannot_be_weights_are_refused(
    spoil: Callable[[Tensor], Tensor], message: str
) -> None:
    state = cifar_resnet(3)
    state["layer1.0.conv1.weight"] = spoil(state["layer1.0.conv1.weight"])

    with pytest.raises(WeightsError, match=rf"layer1\.0\.conv1\.weight .*{message}"):
        match_weights(RESNET20, state)
