"""PEFT's ways to begin an adapter, as far as what is stored stays an adapter of the unchanged base.

PiSSA, OLoRA and CorDA take their first product s·B₀A₀ out of the base's weights: W = R + s·B₀A₀. They
are stored as plain LoRA of twice the rank, B·A - B₀·A₀, which belongs on W. EVA and CorDA look at rows.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from peft import LoraConfig, PeftModel, initialize_lora_eva_weights
from peft.tuners.lora.corda import preprocess_corda
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from harness.errors import UsageError
from harness.experiment.lora_fields import REWRITES_BASE
from harness.training.loss import causal_model, hidden_states
from harness.training.rendering import TokenRow

ROWS_LOOKED_AT = 256  # what CorDA's authors use
EVA_BATCH = 16  # rows; together they need more tokens with a loss than the adapter has ranks
EVA_PASSES = 20  # over those rows, until its directions hold still

_USE_ANOTHER = 'use init_lora_weights = true, "pissa", "olora" or "eva"'
# Settings of LoraConfig that would train something else than they say, each with the reason.
_REFUSED = {
    "alora_invocation_tokens": "works only where every prompt carries its invocation tokens",
    "arrow_config": "routes among adapters that are trained already",
    "kasa_config": "cuts the base's weights, and has loss terms of its own",
    "layer_replication": "rebuilds the base's layers, so that nothing is left to compare with",
    "lora_ga_config": f"needs gradients of the base and rewrites its weights; {_USE_ANOTHER}",
    "loftq_config": f"replaces the base's weights by quantised ones; {_USE_ANOTHER}",
    "monteclora_config": "has loss terms of its own",
}
# What has no place in the plain LoRA that a rewriting initialisation is stored as.
_LOST_IN_CONVERSION = (
    "use_dora",
    "modules_to_save",
    "trainable_token_indices",
    "lora_bias",
    "target_parameters",
)


def rewrites_base(config: LoraConfig) -> bool:
    """Whether the initialisation takes something out of the base's weights."""
    named = str(config.init_lora_weights).lower()
    return named.startswith(REWRITES_BASE)


def refuse_what_cannot_be_kept(config: LoraConfig, quantised: bool, table: str) -> None:
    """Raises UsageError naming the setting, why, and what to use."""
    for name, reason in _REFUSED.items():
        if getattr(config, name):
            raise UsageError(f"{table}: `lora.{name}` is not supported: it {reason}")
    if not rewrites_base(config):
        return
    setting = f'{table}: init_lora_weights = "{config.init_lora_weights}" rewrites the base\'s weights'
    if quantised:
        raise UsageError(
            f"{setting}, and quantised ones would be rounded anew: use init_lora_weights = true, or "
            'method = "lora" on a base without quantization'
        )
    lost = [name for name in _LOST_IN_CONVERSION if getattr(config, name)]
    lost += ["bias"] if config.bias != "none" else []
    lost += ["use_rslora"] if config.use_rslora and (config.rank_pattern or config.alpha_pattern) else []
    if lost:
        raise UsageError(
            f"{setting} and is stored as plain LoRA, in which `lora.{lost[0]}` has no place: "
            "leave it out, or use init_lora_weights = true"
        )
    if config.corda_config and not isinstance(config.target_modules, set):
        raise UsageError(f'{table}: init_lora_weights = "corda" needs lora.target_modules as a list')
    if config.corda_config and (config.corda_config.cache_file or config.corda_config.covariance_file):
        raise UsageError(f"{table}: CorDA's files are pickles, which are never loaded; leave them out")


@torch.no_grad()
def look_at_rows_before(model: Any, config: LoraConfig, rows: Sequence[TokenRow]) -> None:
    """CorDA: covariances of what goes into each layer, before the adapter is there."""
    if config.corda_config is None:
        return

    def run_rows() -> None:
        for batch in _batches(model, rows, size=1):  # its sums know no padding
            hidden_states(model, batch)

    preprocess_corda(model, config, run_model=run_rows)


def look_at_rows_after(model: PeftModel, config: LoraConfig, rows: Sequence[TokenRow], table: str) -> None:
    """EVA: the directions in which each layer's inputs vary most, once the adapter is there."""
    if config.init_lora_weights != "eva":
        return

    def forward(_: Any, batch: dict[str, torch.Tensor]) -> None:
        hidden_states(causal_model(model), batch)

    batches = _Passes(list(_batches(model, rows, EVA_BATCH)), table)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints about every batch that is too small
        initialize_lora_eva_weights(model, batches, forward_fn=forward, show_progress_bar=False)


class _Passes:
    """Batches for PEFT, which goes round them until its directions hold still, or for ever."""

    def __init__(self, batches: list[dict[str, torch.Tensor]], table: str) -> None:
        self.batches = batches
        self.table = table

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        for _ in range(EVA_PASSES):
            yield from self.batches
        raise UsageError(
            f'{self.table}: init_lora_weights = "eva" found no stable directions in the rows: lower lora.r '
            "or eva_config.rho, set eva_config.use_label_mask = false, or use init_lora_weights = true"
        )


def _batches(model: Any, rows: Sequence[TokenRow], size: int) -> Iterator[dict[str, torch.Tensor]]:
    collate = DataCollatorForLanguageModeling(pad_token_id=0)
    looked_at = [{"input_ids": row.input_ids, "labels": row.labels} for row in rows[:ROWS_LOOKED_AT]]
    for at in range(0, len(looked_at), size):
        yield {name: each.to(model.device) for name, each in collate(looked_at[at : at + size]).items()}
