"""Images worth a look before they are learnt from: blank ones, and near-duplicates.

They are looked at as thumbnails of what is decoded anyway. Near-duplicates are found exactly, not
by chance: thumbnails are vectors of length one, and two that are alike are near each other on
every axis. So those far apart on the first principal axis are never compared, and the others
on few axes first. Mirroring changes the sign of the axes that are odd across the image, and
nothing else: their absolute values find mirror images in the same search.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from training.data.dataset import Dataset, Split, random_subset
from training.data.duplicates import Place

MAX_IMAGES = 100_000
"""Looked at in all; of more, so many at random."""
THUMBNAIL = 16
"""Height and width in pixels."""
READ_PIXELS = 64
"""Of a side, about, that a thumbnail is made of: every second or third pixel of a large image."""
BLOCK = 1024
ALIKE = 0.99
"""Cosine of two thumbnails without their means. Of two different photographs of insects it was
0.84 at most; of CIFAR-10's 32 x 32 pixels 7 in 32 million pairs have more."""
MAX_DIFFERENCE = 8.0
"""Mean difference of two such thumbnails, of 255."""
AXES = 32
"""Principal axes that are compared first."""
MAX_PAIRS = 200_000
WHITE, BLACK = 245, 10
"""Brightness from which a pixel is white, and up to which it is black."""
WHITE_SHARE, BLACK_SHARE = 0.85, 0.95
"""Of an image that is nearly white or black. imageNotFound.gif has 0.89."""
RARE = 0.01
"""Share of the images up to which nearly white or black ones are outliers, not their style."""
FLAT = 4.0
"""Difference of the brightest and the darkest place of a thumbnail that shows nothing, of 255."""


class Outliers(NamedTuple):
    """What was found.

    Attributes:
        blank: `constant`, `nearly white`, `nearly black` -> where such images are.
        alike: Groups of near-duplicates; `training.data.duplicates` finds copies.
        looked_at: How many images.
    """

    blank: Mapping[str, tuple[Place, ...]]
    alike: tuple[tuple[Place, ...], ...]
    looked_at: int


class _Looks(NamedTuple):
    """Thumbnails (N, 256) in 0 to 255, and the shares of white and black pixels (N,)."""

    thumbnails: Tensor
    white: Tensor
    black: Tensor


def find_outliers(dataset: Dataset, most: int = MAX_IMAGES) -> Outliers:
    """Look at all images, or at `most` of them at random: 2.5 kB of memory for each."""
    places: list[Place] = []
    parts: list[_Looks] = []
    total = sum(map(len, dataset.splits.values()))
    for name, split in dataset.splits.items():
        share = min(len(split), -(-most * len(split) // max(1, total)))
        positions = random_subset(len(split), share)
        places += [Place(name, position) for position in positions.tolist()]
        parts += [_look(split, some) for some in torch.split(positions, BLOCK) if len(some)]
    if not parts:
        return Outliers({}, (), 0)
    looks = _Looks(*(torch.cat(each) for each in zip(*parts, strict=True)))
    blank = {kind: tuple(places[at] for at in found) for kind, found in _blank(looks).items()}
    groups = _groups(_alike(looks.thumbnails))
    alike = tuple(tuple(places[at] for at in group) for group in groups)
    return Outliers({kind: found for kind, found in blank.items() if found}, alike, len(places))


def _look(split: Split, positions: Tensor) -> _Looks:
    images = split[positions].images  # (N, S, S, C)
    step = max(1, images.shape[1] // READ_PIXELS)
    grey = images[:, ::step, ::step].float().mean(-1)  # (N, s, s)
    return _Looks(
        adaptive_avg_pool2d(grey[:, None], THUMBNAIL).flatten(1),
        (grey >= WHITE).float().mean((1, 2)),
        (grey <= BLACK).float().mean((1, 2)),
    )


def _blank(looks: _Looks) -> dict[str, list[int]]:
    """Give positions of images that show nothing, or almost nothing."""
    is_flat = looks.thumbnails.amax(1) - looks.thumbnails.amin(1) < FLAT
    found = {"constant": is_flat}
    for kind, marked in (
        ("nearly white", (looks.white >= WHITE_SHARE) & ~is_flat),
        ("nearly black", (looks.black >= BLACK_SHARE) & ~is_flat),
    ):
        rare = marked.sum() <= max(3, RARE * len(marked))
        found[kind] = marked & rare
    return {kind: marked.nonzero().flatten().tolist() for kind, marked in found.items()}


def _alike(thumbnails: Tensor) -> Iterator[tuple[int, int]]:
    """Yield pairs of near-duplicates, up to `MAX_PAIRS`.

    Args:
        thumbnails: (N, 256).
    """
    vectors = thumbnails - thumbnails.mean(1, keepdim=True)
    lengths = vectors.norm(dim=1, keepdim=True)
    vectors = vectors / lengths.clamp_min(1e-6)
    kept = (lengths.flatten() >= FLAT * THUMBNAIL / 2).nonzero().flatten()
    if len(kept) < 2:
        return
    vectors = vectors[kept]
    near = _on_axes(vectors)
    order = near[:, -1].argsort()
    near, kept, vectors = near[order], kept[order], vectors[order]
    thumbnails = thumbnails[kept]
    squares = near.square().sum(1, keepdim=True) / 2
    rows = torch.cat([near, torch.ones_like(squares)], 1)
    columns = torch.cat([near, -squares], 1).T  # row @ column = (row² - distance²) / 2
    limit = 2 - 2 * ALIKE  # the squared distance of two vectors of length one with that cosine
    ends = torch.searchsorted(near[:, -1].contiguous(), near[:, -1] + limit**0.5, right=True)
    found = 0
    for start in range(0, len(near), BLOCK):
        stop = min(start + BLOCK, len(near))
        close = rows[start:stop] @ columns[:, start : ends[stop - 1]]
        left, right = (close >= squares[start:stop] - limit / 2 - 1e-5).nonzero().T + start
        twice = right <= left
        for one, other in _checked(left[~twice], right[~twice], vectors, thumbnails):
            yield int(kept[one]), int(kept[other])
            found += 1
            if found == MAX_PAIRS:
                return


def _on_axes(vectors: Tensor) -> Tensor:
    """Project thumbnails on principal axes, the widest last; the same for mirror images.

    Args:
        vectors: (N, 256).

    Returns:
        (N, 32): no two are farther apart than the thumbnails, or one of them and the other's
        mirror image.
    """
    left, right = vectors.reshape(-1, THUMBNAIL, 2, THUMBNAIL // 2).unbind(2)  # (N, 16, 8) each
    found = []
    for part in (left + right.flip(2), left - right.flip(2)):
        half = part.flatten(1) / 2**0.5  # (N, 128)
        spread, axes = torch.linalg.eigh(torch.cov(half.T))
        found.append((spread, half @ axes))
    spreads, places = (torch.cat(each, -1) for each in zip(*found, strict=True))
    places[:, vectors.shape[1] // 2 :].abs_()
    return places[:, spreads.argsort()[-AXES:]]


def _checked(
    left: Tensor, right: Tensor, vectors: Tensor, thumbnails: Tensor
) -> Iterator[tuple[int, int]]:
    """Yield the pairs that are alike on all axes, and in brightness, but no copies."""
    for some, others in zip(torch.split(left, 65_536), torch.split(right, 65_536), strict=True):
        good = torch.zeros(len(some), dtype=torch.bool)
        for seen in (lambda flat: flat, _mirrored):
            cosine = (vectors[some] * seen(vectors[others])).sum(1)
            difference = (thumbnails[some] - seen(thumbnails[others])).abs().mean(1)
            good |= (cosine >= ALIKE) & (difference <= MAX_DIFFERENCE)
        good &= (thumbnails[some] != thumbnails[others]).any(1)
        yield from zip(some[good].tolist(), others[good].tolist(), strict=True)


def _mirrored(flat: Tensor) -> Tensor:
    return flat.reshape(-1, THUMBNAIL, THUMBNAIL).flip(2).flatten(1)


def _groups(pairs: Iterator[tuple[int, int]]) -> list[list[int]]:
    """Join pairs that share an image."""
    parent: dict[int, int] = {}

    def top(node: int) -> int:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for one, other in pairs:
        parent[top(max(one, other))] = top(min(one, other))
    groups: dict[int, list[int]] = defaultdict(list)
    for node in sorted(parent):
        groups[top(node)].append(node)
    return list(groups.values())


def few_images(counts: Mapping[str, Mapping[str, int]], least: int = 10) -> Sequence[str]:
    """Name the labels of fewer than so many images, over all splits, with their number."""
    sums = {label: sum(by_split.values()) for label, by_split in counts.items()}
    return [f"{label} {count}" for label, count in sums.items() if 0 < count < least]
