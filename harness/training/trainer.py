"""TRL's SFTTrainer with a loss that a CPU can pay for."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint
from trl import SFTTrainer

IGNORED = -100
# Rows of vocabulary-sized logits that are held at once; more are recomputed in the backward pass.
LOGIT_ROWS = 128
# Models that scale their logits in a way of their own keep TRL's loss.
SCALED_LOGITS = ("logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier")


class CompletionTrainer(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer whose loss, on a CPU, projects only the positions that are trained on.

    On a GPU TRL does so itself, in Triton. On a CPU it projects every position, prompt and padding
    too, in float32: with a vocabulary of 262,144 that is nearly all of the time. The loss is the
    same: summed negative log-likelihood over the unmasked tokens, divided by their number.
    """

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        labels = inputs["labels"]
        config = model.config.get_text_config()
        if labels.device.type != "cpu" or any(getattr(config, name, None) for name in SCALED_LOGITS):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        hidden = base.get_decoder()(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
        ).last_hidden_state
        targets = labels[:, 1:]
        trained_on = targets != IGNORED
        cap = getattr(config, "final_logit_softcapping", None)
        total = _summed_loss(
            hidden[:, :-1][trained_on], targets[trained_on], base.get_output_embeddings(), cap
        )
        items = num_items_in_batch if num_items_in_batch is not None else trained_on.sum()
        loss = total / torch.as_tensor(items).clamp(min=1)
        if self.model.training:
            self._total_train_tokens += int(inputs["attention_mask"].sum())
        self._metrics["train" if self.model.training else "eval"]["num_tokens"] = [self._total_train_tokens]
        return (loss, {"loss": loss}) if return_outputs else loss


def _summed_loss(hidden: torch.Tensor, targets: torch.Tensor, head: Any, cap: float | None) -> torch.Tensor:
    """Σ -log p(target), logits in float32; in pieces that are recomputed when there are several."""

    def piece(part: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        logits = head(part).float()
        if cap:
            logits = cap * torch.tanh(logits / cap)
        return F.cross_entropy(logits, wanted, reduction="sum")

    if len(targets) <= LOGIT_ROWS:
        return piece(hidden, targets)
    parts = [
        checkpoint(piece, hidden[at : at + LOGIT_ROWS], targets[at : at + LOGIT_ROWS], use_reentrant=False)
        for at in range(0, len(targets), LOGIT_ROWS)
    ]
    return torch.stack(parts).sum()
