"""The version of the records that runs leave, and what their fields were called before.

Run folders outlive the code that wrote them: a field that is renamed is still read under its
old name, with its value (docs/decisions/0045).
"""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from training.recipe.recipe import unused_fields

SCHEMA_VERSION = 3
"""Of the records that this version writes: one more with each field that is renamed or dropped."""

RENAMED: Mapping[int, Mapping[str, str | None]] = MappingProxyType(
    {  # schema version -> fields of the recipe that it renamed; None: dropped, never had an effect
        3: {
            "backbone_rate": "backbone_lr_scale",
            "crop_area": "rrc_min_area",
            "erase": "random_erasing",
            "expected": None,
            "finish": "cooldown",
            "first_scale": "resolution_start",
            "floor": "final_lr_ratio",
            "grown_at": "resolution_ramp",
            "last_scale": "resolution_end",
            "norm_momentum": "bn_momentum",
            "shift": "random_shift",
            "size": "image_size",
            "turn": "muon_lr",
            "turn_momentum": "muon_momentum",
        },
    }
)


def with_present_names(content: str | bytes) -> str | bytes:
    """Give the fields of an earlier version's record the names that they have now.

    Args:
        content: JSON; what is no record comes back as it is.

    Raises:
        ValueError: If it is no JSON.
    """
    record = json.loads(content)
    if not isinstance(record, dict) or not isinstance(record.get("recipe"), dict):
        return content
    written_by = record.get("schema_version", 1)
    for version, names in sorted(RENAMED.items()):
        if isinstance(written_by, int) and written_by < version:
            record["recipe"] = _renamed(record["recipe"], names)
    unused = unused_fields(record["recipe"])  # earlier recipes had values there; none had an effect
    record["recipe"] = {k: v for k, v in record["recipe"].items() if k not in unused}
    return json.dumps(record)


def recipe_with_present_names(fields: dict[str, Any]) -> dict[str, Any]:
    """Give the fields of a recipe of any version the names that they have now."""
    for _, names in sorted(RENAMED.items()):
        fields = _renamed(fields, names)
    return fields


def _renamed(recipe: dict[str, Any], names: Mapping[str, str | None]) -> dict[str, Any]:
    """Rename fields; one whose new name is taken stays, so that its reader names it."""
    renamed: dict[str, Any] = {}
    for name, value in recipe.items():
        new = names.get(name, name)
        if new is not None:
            renamed[name if new != name and new in recipe else new] = value
    return renamed
