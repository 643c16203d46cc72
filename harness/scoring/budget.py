"""How many tokens go through a model in one pass: found from free memory, halved when it was too many."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from harness.errors import RunFailed
from harness.models.loading import free_memory
from harness.scoring.forest import Shape
from harness.scoring.reading import slice_of
from harness.store.artifacts import write_json

# Rows of trees: attention costs the square of a row, a GPU wants long ones all the same.
ROW_OF_DEVICE = {"cpu": 128, "cuda": 512}
# More tokens in a pass make nothing faster.
ENOUGH_NODES = {"cpu": 1024, "cuda": 8192}
# A CPU unpacks 4-bit weights anew for each pass, however many tokens go through them.
ENOUGH_NODES_QUANTIZED = 4096
LONGEST_TREE = 4096
SHORTEST_IN_A_SLOT = 16
# Bytes of keys and values: more sequences side by side would be little faster.
SLOTS_HOLD = {"cpu": 1 << 29, "cuda": 8 << 30}
FEWEST_NODES = 16
# Bytes of float32 logits at a time. On a CPU those of a slice of the vocabulary stay in its cache, and
# fewer positions than fill it would read the head's weights more often; a head that is not cut needs more.
LOGITS_HELD = {"cpu": 1 << 23, "cuda": 1 << 29}
UNCUT_LOGITS_HELD = 1 << 27
# Of free memory a pass may fill.
SHARE_OF_FREE = 0.5
# Tensors of an MLP and of the residual stream that are alive at once, in units of their width.
MLP_COPIES, STREAM_COPIES = 3, 10


@dataclass
class Budget:
    """How much goes through the model at once; shared by all that use one load, and shrunk by any of them.

    nodes: tokens in a pass. logits: positions read at a time. share: of the free memory that slots may fill.
    of_a_position: bytes of keys and values of one token. slots_hold: bytes of them that are enough
    """

    nodes: int
    logits: int
    shape: Shape
    of_a_position: int
    slots_hold: int
    share: float = SHARE_OF_FREE

    def slots(self, capacity: int) -> int:
        """How many sequences of up to `capacity` tokens can be generated side by side."""
        held = min(int(self.share * free_memory()), self.slots_hold)
        fits = held // max(1, self.of_a_position * capacity)
        return max(1, min(fits, self.nodes // SHORTEST_IN_A_SLOT))

    def shrink(self, error: BaseException) -> None:
        """Half of both from now on. Raises RunFailed where that is too little for anything."""
        if self.nodes <= FEWEST_NODES:
            raise RunFailed(
                f"not even {self.nodes} tokens fit into memory beside the model: {error}\n"
                "Free the memory that other processes hold, or load the model with a quantization."
            ) from error
        self.nodes, self.logits = max(FEWEST_NODES, self.nodes // 2), max(1, self.logits // 2)
        self.share /= 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def budget_for(model: Any) -> Budget:
    """What the free memory allows, up to what makes a pass faster."""
    config, where = model.config.get_text_config(), model.device.type
    wide = model.dtype.itemsize
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    of_a_node = wide * (MLP_COPIES * inner + STREAM_COPIES * config.hidden_size)
    free = SHARE_OF_FREE * free_memory()
    enough = ENOUGH_NODES.get(where, ENOUGH_NODES["cpu"])
    if getattr(model, "is_quantized", False):
        enough = max(enough, ENOUGH_NODES_QUANTIZED)
    nodes = max(FEWEST_NODES, min(enough, int(free / of_a_node)))
    row = min(ROW_OF_DEVICE.get(where, ROW_OF_DEVICE["cpu"]), nodes)
    return Budget(
        nodes=nodes,
        logits=_positions(model, int(free)),
        shape=Shape(row, max(row, min(LONGEST_TREE, nodes))),
        of_a_position=_keys_and_values(config) * wide,
        slots_hold=SLOTS_HOLD.get(where, SLOTS_HOLD["cpu"]),
    )


def _positions(model: Any, free: int) -> int:
    """How many positions are read at a time: the head is cut into slices only where it is a plain one."""
    where, vocabulary = model.device.type, int(model.config.get_text_config().vocab_size)
    held, width = LOGITS_HELD.get(where, LOGITS_HELD["cpu"]), slice_of(where)
    if width >= vocabulary or type(model.get_output_embeddings()) is not torch.nn.Linear:
        held, width = max(held, UNCUT_LOGITS_HELD), vocabulary
    return max(1, min(held, free) // (4 * width))


def recall(budget: Budget, file: Path) -> None:
    """Begin with what has worked before for this model on this machine, where that is on record."""
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
        nodes, logits, share = int(known["nodes"]), int(known["logits"]), float(known["share"])
    except (OSError, ValueError, KeyError, TypeError):  # nothing on record, or nothing that can be read
        return
    budget.nodes = max(FEWEST_NODES, min(budget.nodes, nodes))
    budget.logits = max(1, min(budget.logits, logits))
    budget.share = min(budget.share, share)


def remember(budget: Budget, file: Path) -> None:
    """Put on record what has worked, once memory has run out."""
    if budget.share < SHARE_OF_FREE:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, {"nodes": budget.nodes, "logits": budget.logits, "share": budget.share})


def _keys_and_values(config: Any) -> int:
    """Numbers that attention keeps of a token: nothing in a model without attention."""
    heads = getattr(config, "num_attention_heads", 0)
    size = getattr(config, "head_dim", None) or config.hidden_size // max(1, heads)
    return int(2 * config.num_hidden_layers * (getattr(config, "num_key_value_heads", None) or heads) * size)
