"""What a training starts from, and the model that it is ready to train."""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.training_rows import Mixture, TrainingRows
from harness.experiment.schema import Base, Tuned
from harness.training.loss import Reference


@dataclass(frozen=True)
class Job:
    """One seed of one recipe. `name` and `base.model` stand in the stored adapter's own files.

    train: with replayed rows already among them
    """

    name: str
    base: Base
    recipe: Tuned
    seed: int
    train: TrainingRows | Mixture
    validation: TrainingRows

    @property
    def table(self) -> str:
        """Where the person wrote the recipe."""
        return f"[tuned.{re.sub(r'-seed-?[0-9]+$', '', self.name)}]"


@dataclass(frozen=True)
class Prepared:
    """A model of which exactly what the method trains requires gradients.

    save:      writes what was trained into a folder, in its final form; returns its safetensors file
    reference: the base beside the tuned model, for the divergence; None where `kl` is 0
    """

    model: Any
    save: Callable[[Path], Path]
    reference: Reference | None


def frozen_copy(model: Any) -> Reference:
    """The model as it is now. Parameters that are not trained are shared with it, not copied."""
    shared = {id(each): each for each in model.parameters() if not each.requires_grad}
    frozen = copy.deepcopy(model, shared).requires_grad_(False).eval()

    @contextlib.contextmanager
    def reference() -> Iterator[Any]:
        yield frozen

    return reference
