"""What every declared table is built from."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$", max_length=80)]
Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Strength = Annotated[float, Field(ge=0.0, le=2.0)]
# The models are strict, so that `epochs = "3"` is an error; TOML's lists still become tuples.
Texts = Annotated[tuple[str, ...], Field(strict=False)]
SomeTexts = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]


class Declared(BaseModel):
    """A table of an experiment or a suite. The docstrings describe the keys: editors show them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)
