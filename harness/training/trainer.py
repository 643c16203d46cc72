"""TRL's SFTTrainer, one optimiser step at a time: `batch_size` rows, in passes that fit the memory."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate.utils.memory import should_reduce_batch_size
from trl import SFTTrainer

from harness.errors import RunFailed
from harness.experiment.schema import Tuned
from harness.training.batches import Inputs, micro_batches
from harness.training.job import Prepared
from harness.training.loss import summed_losses
from harness.training.meter import Meter
from harness.training.rendering import IGNORED
from harness.training.weights import read_weights, trainable, write_weights

CHECKPOINT_WEIGHTS = "trained.safetensors"
T = TypeVar("T")


class StepTrainer(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer whose every batch is one whole optimiser step.

    The step is split here rather than by gradient accumulation: rows of like length share a pass, the
    loss is the mean over the trained tokens of the whole step whatever the split, and a pass that
    does not fit the memory is repeated in halves, with nothing lost.
    """

    def __init__(self, prepared: Prepared, recipe: Tuned, meter: Meter, **options: Any) -> None:
        held = {name: parameter.data for name, parameter in trainable(prepared.model).items()}
        super().__init__(model=prepared.model, **options)
        # TRL rounds the adapter of a quantised base to bfloat16, where small updates are lost.
        for name, parameter in trainable(self.model).items():
            parameter.data = held[name]
        self.control: Any
        self.prepared = prepared
        self.recipe = recipe
        self.meter = meter
        self._step_loss = math.nan

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """Gradients of one optimiser step. Returns its loss, divergence included."""
        model.train()
        inputs = self._prepare_inputs(inputs)
        loss, divergence, trained = self._what_fits(self._backward, inputs)
        self.meter.count(len(inputs["input_ids"]), int(inputs["attention_mask"].sum()), trained)
        self.meter.add(loss, divergence, trained)
        self._step_loss = (loss + self.recipe.kl * divergence) / max(1, trained)
        return torch.tensor(self._step_loss, device=self.args.device)

    def _backward(self, inputs: Inputs, rows: int) -> tuple[float, float, int]:
        trained = _trained(inputs)
        sums = []
        for part in micro_batches(inputs, rows, self._packed_length):
            with self.accelerator.autocast():
                found = summed_losses(self.model, part, self.prepared.reference, self.recipe.kl)
            self.accelerator.backward(found.objective / max(1, trained))
            sums.append(torch.stack([found.loss, found.divergence]))
        return *torch.stack(sums).double().sum(dim=0).tolist(), trained

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Loss per trained token over all validation rows.

        transformers takes the mean of the batches' means, in which the tokens of a batch of short rows
        weigh more.
        """
        self.model.eval()
        totals = torch.zeros(3, dtype=torch.float64)
        for inputs in self.get_eval_dataloader():
            totals += torch.tensor(self._what_fits(self._forward, self._prepare_inputs(inputs)))
        loss, divergence, trained = totals.tolist()
        if not math.isfinite(loss):
            raise RunFailed(f"the validation loss became {loss} at step {self.state.global_step}")
        metrics = {"eval_loss": loss / max(1, trained)}
        if self.prepared.reference is not None:
            metrics["eval_kl"] = divergence / max(1, trained)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    @torch.no_grad()
    def _forward(self, inputs: Inputs, rows: int) -> tuple[float, float, int]:
        sums = []
        for part in micro_batches(inputs, rows, self._packed_length):
            with self.accelerator.autocast():
                found = summed_losses(self.model, part, self.prepared.reference, self.recipe.kl)
            sums.append(torch.stack([found.loss, found.divergence]))
        return *torch.stack(sums).double().sum(dim=0).tolist(), _trained(inputs)

    @property
    def _packed_length(self) -> int | None:
        return self.recipe.max_length if self.recipe.packing else None

    def _what_fits(self, run: Callable[[Inputs, int], T], inputs: Inputs) -> T:
        """`run` with as many rows in a pass as the memory holds; an explicit number is kept.

        Raises RunFailed saying which key to change.
        """
        while True:
            try:
                return run(inputs, self.meter.micro_batch_size)
            except RuntimeError as error:
                if not should_reduce_batch_size(error):
                    raise
                self._smaller_or_fail(error)
            # Outside the handler: within it the error holds the tensors of the failed pass.
            self.model.zero_grad()
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _smaller_or_fail(self, error: RuntimeError) -> None:
        rows = self.meter.micro_batch_size
        if rows == 1:
            raise RunFailed(
                "the memory does not hold one row at a time: lower max_length, set "
                "gradient_checkpointing = true, or train less (lora, qlora)"
            ) from error
        if self.recipe.micro_batch_size != "auto":
            raise RunFailed(
                f"the memory does not hold micro_batch_size = {rows}: set it to {rows // 2}, or to "
                '"auto"; batch_size and with it the recipe stay as they are'
            ) from error
        self.meter.micro_batch_size = rows // 2

    def _clip_grad_norm(self, model: Any) -> Any:
        """Also stops before a step that would spoil the weights. Loss scaling (float16) has its own way."""
        norm = super()._clip_grad_norm(model)
        values = {"the training loss": self._step_loss}
        if not self.args.fp16:
            values["the gradient norm"] = float(norm)
        for what, value in values.items():
            if not math.isfinite(value):
                raise RunFailed(
                    f"{what} became {value} at step {self.state.global_step + 1}; "
                    "lower learning_rate, or raise warmup_ratio"
                )
        return norm

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """The training loss is per trained token since the last log, and without the divergence."""
        if "loss" in logs:
            logs["loss"], divergence = self.meter.means()
            if self.prepared.reference is not None:
                logs["kl"] = divergence
        super().log(logs, start_time)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """No card for a checkpoint."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """A checkpoint's weights: only what is trained, and never a pickle."""
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        write_weights(self.model, folder / CHECKPOINT_WEIGHTS)
        self.meter.write(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self.restore(Path(resume_from_checkpoint))

    def restore(self, checkpoint: Path) -> None:
        """Weights and counts of a checkpoint; what the optimiser knows comes with `train`."""
        read_weights(self.model, checkpoint / CHECKPOINT_WEIGHTS)
        self.meter.restore(checkpoint)


def _trained(inputs: Inputs) -> int:
    """Tokens with a loss: the first of a row has none, because nothing predicts it."""
    return int((inputs["labels"][:, 1:] != IGNORED).sum())
