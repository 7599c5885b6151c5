"""Words that people call splits and folders of images by: such a name is no label."""

import re
from collections.abc import Mapping
from types import MappingProxyType

UNLABELLED = "unlabelled"
_WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "train|training|trainval|trn|训练集|训练": ("train",),
        "val|valid|validate|validation|dev|devel|验证集|验证": ("validation",),
        "calib|calibrate|calibration|校准集|校准": ("calibration",),
        "test|testing|tests|tst|测试集|测试": ("test",),
        "eval|evaluate|evaluation": ("validation", "test"),
        "heldout|holdout": ("test", "validation"),
        "inference|pred|predict|prediction|predictions|submission|unlabeled|unlabelled": (
            UNLABELLED,
        ),
    }
)
"""Words for splits, in lower case; of several splits, the first that has no folder yet."""
FILLING = (
    "aug|augmented|clean|cropped|data|dataset|files|final|folder|full|images?|imgs?|jpe?g|original|"
    "part|photos?|pics?|pictures?|png|preprocessed|processed|raw|resized|seg|sets?|splits?"
)
"""Words that stand beside those (`train_images`), and names of a folder of images."""
_NO_LABELS = "annotations?|folds?|images?|imgs?|jpe?g|labels|masks|photos?|pics?|pictures?|png"
"""Names that say nothing of what the images show; a data set's labels are not all like this."""


def is_no_label(name: str) -> bool:
    """Tell whether a name is a word for a split, or for a folder of images, and for no label."""
    return bool(splits_named(name) or re.fullmatch(_NO_LABELS, letters(name)))


def splits_named(name: str) -> tuple[str, ...]:
    """Return the splits that a name may stand for, the likeliest first."""
    for words, splits in _WORDS.items():
        if re.fullmatch(f"(?:{FILLING})*(?:{words})(?:{FILLING})*", letters(name)):
            return splits
    return ()


def letters(name: str) -> str:
    """Return the letters of a name, in lower case."""
    return re.sub(r"[\W\d_]+", "", name.casefold())
