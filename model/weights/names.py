"""Which tensor of a file is which of ours: prefixes, and the spellings of other libraries.

`model.weights.loading` copies what is named here. Names and shapes only; the numbers do not matter.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from types import MappingProxyType

import torch
from torch import Tensor

from model.architecture.spec import Architecture
from model.network.resnet import ResNet
from model.weights.head import Head, body_of, find_head, head_name, part_of

Shapes = Mapping[str, torch.Size]
"""Name -> shape of the tensors of a network."""

COUNTER = "num_batches_tracked"
"""Ends the names of the counters of norms; no answer depends on them."""

PREFERRED = re.compile(
    r"(?:^|[^a-z])(?:ema|swa|averaged?|avg|teacher|best)(?:[^a-z]|$)", re.IGNORECASE
)
"""In the names of what is taken first: averaged weights, and those of the best epoch."""

AUXILIARY = re.compile(
    r"loss|criteri|metric|accura|aux|queue|projector|projection_head|prototype|center|arcface"
    r"|margin|temperature|logit_scale|normali[sz]e",
    re.IGNORECASE,
)
"""In the names of parts that only training needs."""

_HF_BLOCK = r"encoder\.stages\.(\d+)\.layers\.(\d+)\."
SPELLINGS: tuple[tuple[re.Pattern[str], str], ...] = (
    # transformers' ResNets
    (re.compile(r"embedder\.embedder\.convolution\."), "conv1."),
    (re.compile(r"embedder\.embedder\.normalization\."), "bn1."),
    (re.compile(_HF_BLOCK + r"layer\.(\d+)\.convolution\."), "layer{+1}.{}.conv{+1}."),
    (re.compile(_HF_BLOCK + r"layer\.(\d+)\.normalization\."), "layer{+1}.{}.bn{+1}."),
    (re.compile(_HF_BLOCK + r"shortcut\.convolution\."), "layer{+1}.{}.downsample.0."),
    (re.compile(_HF_BLOCK + r"shortcut\.normalization\."), "layer{+1}.{}.downsample.1."),
    # `nn.Sequential(*resnet.children())` with torchvision's names: 4 is layer1
    (re.compile(r"(?<![^.])([4-7])\.(?=\d+\.(?:conv|bn|downsample))"), "layer{-3}."),
    (re.compile(r"\.shortcut\."), ".downsample."),
    # left within a name by torch.compile, by sharding and by recomputing activations
    (re.compile(r"(?<=\.)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."), ""),
)
"""Pattern and our name for it; `{+1}` is the next number that was found, plus one."""

WRAPPED = ("module.", "_orig_mod.", "network.", "model.")
"""Before the second name of a tensor, as half-converted checkpoints have it."""

NETWORK = 10
"""Names behind one prefix that only a whole network has; a layer has seven at most."""

NUMBERED_STEM = MappingProxyType({"0": "conv1", "1": "bn1"})
"""What comes before `layer1` in such a `Sequential`."""


@lru_cache(maxsize=64)
def shapes_of(architecture: Architecture) -> Shapes:
    """Give the names and shapes of a network's tensors, without the numbers."""
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in ResNet(architecture).state_dict().items()}


def shown(names: Iterable[str], most: int = 3) -> str:
    """List some names from a file in a line, and say how many more there are."""
    every = list(names)
    listed = [name if name.isprintable() else ascii(name) for name in every[:most]]
    short = [name if len(name) <= 80 else f"{name[:77]}..." for name in listed]
    more = f" and {len(every) - most:,} more" if len(every) > most else ""
    return f"{', '.join(short)}{more}"


def is_preferred(name: str) -> bool:
    """Whether a name says that these weights are averaged, or the best epoch's."""
    return PREFERRED.search(name) is not None


def is_auxiliary(name: str) -> bool:
    """Whether a tensor is of a part that only training needs, by its name in the network."""
    return AUXILIARY.search(name.rpartition(".")[0]) is not None


@dataclass(frozen=True)
class Named:
    """The keys of a file under our names.

    Attributes:
        keys: Our name -> the file's key; also layers that the network lacks.
        prefix: What stood before them in the file.
        head: What serves as the head.
        doubled: Keys of tensors that another key gives -> our name.
        rivals: Keys of another network in the same file.
        score: How many tensors have a name of ours, and how many of them its shape, too.
    """

    keys: Mapping[str, str]
    prefix: str
    head: Head
    doubled: Mapping[str, str]
    rivals: frozenset[str]
    score: tuple[int, int]


def name_keys(weights: Mapping[str, Tensor], shapes: Shapes) -> Named:
    """Find the prefix before a network's keys, and its head."""
    spelt = {key: _spell(key) for key in weights}
    votes = _votes(weights, spelt, shapes)
    prefix = max(votes, key=lambda each: (*votes[each].score, is_preferred(each)), default="")
    rivals = _rivals(spelt, prefix, votes)
    keys, doubled = _behind(spelt, prefix, rivals, weights)
    body = body_of(shapes)
    for key, name in spelt.items():
        own = name.removeprefix(prefix)
        if key in rivals or own in shapes or part_of(own) in body or not own.startswith(WRAPPED):
            continue
        twin = next((tail for _, tail in _tails(own) if tail in shapes and tail in keys), None)
        if twin is not None and weights[key].shape == shapes[twin]:
            doubled[key] = twin
    apart = {
        key: tensor
        for key, tensor in weights.items()
        if not (key in rivals or key in doubled or is_auxiliary(spelt[key].removeprefix(prefix)))
    }
    head = find_head(apart, spelt, prefix, shapes)
    ours = f"{head_name(shapes)}."
    keys = {
        name: key
        for name, key in keys.items()
        if key not in head.keys and not name.startswith(ours)
    }
    keys |= {name: key for key, name in head.keys.items()}
    score = votes[prefix].score if votes else (0, 0)
    return Named(keys, prefix, head, {**doubled, **head.doubled}, rivals, score)


def _rivals(spelt: Mapping[str, str], prefix: str, votes: Mapping[str, "_Votes"]) -> frozenset[str]:
    """Give the keys of other networks: behind other prefixes with the names of many layers."""
    others = tuple(each for each in votes if each != prefix and votes[each].names >= NETWORK)
    return frozenset(
        key
        for key, name in spelt.items()
        if name.startswith(others) and not _is_under(name, prefix, others)
    )


def _behind(
    spelt: Mapping[str, str],
    prefix: str,
    rivals: frozenset[str],
    weights: Mapping[str, Tensor],
) -> tuple[dict[str, str], dict[str, str]]:
    """Give our name -> key behind the prefix, and the keys whose name another has."""
    keys: dict[str, str] = {}
    doubled: dict[str, str] = {}
    for key, name in _under(spelt, prefix, rivals, weights):
        if name in keys:
            other, keys[name] = (keys[name], key) if key == name else (key, keys[name])
            doubled[other] = name
        else:
            keys[name] = key
    return keys, doubled


@dataclass
class _Votes:
    """How many names of a network stand behind a prefix, and how many shapes are right, too."""

    names: int = 0
    fits: int = 0

    @property
    def score(self) -> tuple[int, int]:
        return self.names, self.fits


def _votes(
    weights: Mapping[str, Tensor], spelt: Mapping[str, str], shapes: Shapes
) -> dict[str, _Votes]:
    """Count the names of a network behind each prefix that the file has."""
    votes: dict[str, _Votes] = defaultdict(_Votes)
    for key, name in spelt.items():
        for prefix, tail in _tails(name):
            if tail in shapes and not tail.endswith(COUNTER):
                votes[prefix].names += 1
                votes[prefix].fits += weights[key].shape == shapes[tail]
    return dict(votes)


def _tails(name: str) -> Iterator[tuple[str, str]]:
    """Split a name at each of its dots, the whole name first: prefix with its dot, rest."""
    start = 0
    while True:
        yield name[:start], name[start:]
        start = name.find(".", start) + 1
        if not start:
            return


def _spell(key: str) -> str:
    """Write a key as our networks do, its prefix untouched."""
    for pattern, ours in SPELLINGS:
        key = pattern.sub(partial(_filled, ours), key)
    return key


def _filled(ours: str, found: re.Match[str]) -> str:
    """Put the numbers that were found into `layer{+1}.{}.`, each moved as it says."""
    rest = iter(found.groups())
    return re.sub(r"\{([+-]\d)?\}", lambda gap: str(int(next(rest)) + int(gap[1] or 0)), ours)


def _is_under(name: str, prefix: str, others: tuple[str, ...]) -> bool:
    """Whether the chosen prefix is the longest that stands before a name."""
    longest = max((other for other in others if name.startswith(other)), key=len, default="")
    return name.startswith(prefix) and len(prefix) > len(longest)


def _under(
    spelt: Mapping[str, str],
    prefix: str,
    rivals: frozenset[str],
    weights: Mapping[str, Tensor],
) -> Iterator[tuple[str, str]]:
    """Give the keys behind the prefix, with their names."""
    first = weights.get(f"{prefix}0.weight")
    numbered = first is not None and first.ndim == 4
    for key, name in spelt.items():
        if name.startswith(prefix) and key not in rivals:
            rest = name[len(prefix) :]
            number, dot, leaf = rest.partition(".")
            if numbered and number in NUMBERED_STEM:
                rest = f"{NUMBERED_STEM[number]}{dot}{leaf}"
            yield key, rest
