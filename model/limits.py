"""The numbers of a manifest, each with the bounds that keep what is computed from it sane."""

from typing import Annotated

from pydantic import Field

MAX_IMAGE_SIZE = 4_096
"""Of the network's input, in pixels: 48 MB an image in memory."""

ImageSize = Annotated[int, Field(ge=1, le=MAX_IMAGE_SIZE)]
Channels = Annotated[int, Field(ge=1, le=4_096)]
"""Of the first stage, or of a group."""
Depths = Annotated[tuple[Annotated[int, Field(ge=1, le=1_000)], ...], Field(max_length=8)]
"""Blocks in each stage; each stage has twice the channels of the one before."""
Count = Annotated[int, Field(ge=0, lt=2**63)]
Whole = Annotated[int, Field(ge=1, lt=2**63)]
Share = Annotated[float, Field(ge=0, le=1)]
Number = Annotated[float, Field(ge=-1e30, le=1e30)]
"""Whatever is computed with in single precision, which ends at 3.4e38."""
Amount = Annotated[float, Field(ge=0, le=1e30)]
Positive = Annotated[float, Field(gt=0, le=1e30)]
