"""What the store's finished steps say of tokens, speed and memory: one pass over their records."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.store.artifacts import STEP_FILE, Store

Count = Field(ge=1)
# Somebody else's adapter lies beside the trained ones, and has none.
OF_A_TRAINING = b'"tokens_per_second"'
Table = dict[str, Any]


class _Read(BaseModel):
    """Part of a record; what else stands in it is not read."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False, defer_build=True)


class _Made(_Read):
    """What every trained or measured step is made from."""

    model: Table
    dtype: Literal["float32", "bfloat16", "float16"]
    quantization: Table | None
    chat_template: str | None

    @cached_property
    def identity(self) -> str:
        return _key(self.model)

    @cached_property
    def loading(self) -> str:
        """The model as it is loaded: speed and memory depend on it, numbers of tokens do not."""
        return f"{self.identity} {self.precision}"

    @cached_property
    def precision(self) -> str:
        return _key([self.dtype, self.quantization])


class Recipe(_Read):
    """What of a recipe tokens, speed and memory depend on."""

    max_length: int
    batch_size: int
    packing: bool
    kl: float
    optimizer: str
    weights_dtype: str
    partial: Table | None

    @cached_property
    def held(self) -> tuple[Any, ...]:
        """What memory depends on, but for the rank of an adapter."""
        trained = self.optimizer, self.weights_dtype, _key(self.partial)
        return self.max_length, self.batch_size, self.packing, bool(self.kl), *trained


class TrainingInputs(_Made):
    """`data` as harness.fingerprints writes it: training rows first; replayed ones have a fraction."""

    recipe: Recipe
    data: list[Table] = Field(min_length=1)

    @property
    def replay(self) -> Table | None:
        return next((entry for entry in self.data if "fraction" in entry), None)

    @cached_property
    def rows(self) -> str:
        """Trainings that are equal in this see the same tokens in an epoch."""
        return self._rows(self.replay)

    @property
    def rows_without_replay(self) -> str:
        return self._rows(None)

    def _rows(self, replay: Table | None) -> str:
        tokenised = [self.model, self.chat_template, self.recipe.max_length]
        return _key([*tokenised, self.data[0], replay])


class MeasuringInputs(_Made):
    task: Table
    data: list[Table]
    split: Literal["test", "validation"] = "test"
    prompt: Table | None
    apply_chat_template: bool

    @cached_property
    def rows(self) -> str:
        """Measurements that are equal in this read the same tokens."""
        asked = [self.model, self.chat_template, self.apply_chat_template, self.prompt]
        return _key([*asked, self.task, self.data, self.split])


class EpochCounts(_Read):
    rows: int = Count
    tokens: int = Count


class Trained(_Read):
    """A training. `tokens` are those of the whole training, `counts` of one epoch."""

    machine: str
    method: str
    counts: EpochCounts
    tokens: int = Count
    seconds: float = Field(gt=0)
    peak_memory_bytes: int = Count
    micro_batch_size: int = Count
    total_parameters: int = Count
    gradient_checkpointing: bool = False
    made_from: TrainingInputs

    @property
    def manner(self) -> tuple[bool, bool, bool]:
        """With a divergence to the base, packed, with gradient checkpointing: what else sets the speed."""
        recipe = self.made_from.recipe
        return bool(recipe.kl), recipe.packing, self.gradient_checkpointing


class Cost(_Read):
    seconds: float = Field(gt=0)
    items_scored: int = Field(ge=0)
    tokens: int = Field(ge=0)
    peak_memory_bytes: int = Count


class Measured(_Read):
    """A measurement. `cost` is of the items that its last run scored, which a kill makes fewer than all."""

    machine: str
    kind: str
    items: int = Count
    cost: Cost
    made_from: MeasuringInputs


@dataclass(frozen=True)
class Records:
    """All finished trainings and measurements; `unread` records were damaged or of another version."""

    trained: tuple[Trained, ...]
    measured: tuple[Measured, ...]
    unread: int

    @cached_property
    def epochs(self) -> Mapping[str, EpochCounts]:
        """Rows and tokens of an epoch, by TrainingInputs.rows."""
        return {each.made_from.rows: each.counts for each in self.trained}

    @cached_property
    def read_tokens(self) -> Mapping[str, int]:
        """Tokens of whole measurements, by MeasuringInputs.rows."""
        return {
            each.made_from.rows: each.cost.tokens
            for each in self.measured
            if each.cost.items_scored == each.items
        }

    @cached_property
    def parameters(self) -> Mapping[str, int]:
        """Parameters of the models that were trained, by their identity."""
        return {each.made_from.identity: each.total_parameters for each in self.trained}


def read_records(store: Store) -> Records:
    """Every finished training and measurement of the store."""
    unread: list[str] = []
    trained = [
        *_read(store.root / "adapters", Trained, unread),
        *_read(store.root / "weights", Trained, unread),
    ]
    measured = tuple(_read(store.root / "measurements", Measured, unread))
    return Records(tuple(trained), measured, len(unread))


R = TypeVar("R", Trained, Measured)


def _read(folder: Path, record: type[R], unread: list[str]) -> Iterator[R]:
    """The records of one kind of step. Those that cannot be read are added to `unread`."""
    # Plain strings: a Path for each of some thousand files takes as long as reading them.
    for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
        if name.endswith(".partial"):
            continue
        file = f"{folder}/{name}/{STEP_FILE}"
        try:
            with open(file, "rb") as stream:
                text = stream.read()
            if record is Measured or OF_A_TRAINING in text:
                yield record.model_validate_json(text)
        except FileNotFoundError:
            continue  # somebody deleted the record: no finished step
        except (OSError, ValidationError):
            unread.append(file)


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
