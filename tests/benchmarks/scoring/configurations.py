"""The base and its adapters: from one load through the product, and in runs of lm-eval."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lm_eval.evaluator import evaluate
from peft import LoraConfig, PeftModel, get_peft_model

from harness.models.adapters import attached_adapter
from harness.models.loading import Loaded
from harness.scoring.items import documents
from harness.tasks.compile import CompiledTask
from tests.benchmarks.scoring.contest import engine, plain
from tests.benchmarks.scoring.requests import Asked, values
from tests.benchmarks.scoring.requests import plain as compiled_plain

ADAPTERS = 4
TASK = "arc_easy"
# None is the base itself.
Adapters = Sequence[Path | None]


def write_random_adapters(loaded: Loaded, folder: Path) -> list[Path]:
    """LoRA of rank 16 on all linear layers, with B of random numbers where training would begin at zero."""
    folders = []
    for number in range(ADAPTERS):
        torch.manual_seed(number)
        recipe = LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=16, target_modules="all-linear")
        model = get_peft_model(loaded.model, recipe)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "lora_B" in name:
                    weight.normal_(std=0.01)
        folders.append(folder / str(number))
        model.save_pretrained(folders[-1])
        model.unload()
    return folders


@contextlib.contextmanager
def configured(loaded: Loaded, adapter: Path | None) -> Iterator[Loaded]:
    if adapter is None:
        yield loaded
    else:
        with attached_adapter(loaded, adapter) as attached:
            yield attached.loaded


@contextlib.contextmanager
def as_lm_eval_has_it(loaded: Loaded, adapter: Path | None) -> Iterator[Loaded]:
    """HFLM's `peft=…`: PEFT's own layers, in evaluation mode."""
    if adapter is None:
        yield loaded
        return
    model = PeftModel.from_pretrained(loaded.model, str(adapter)).eval()
    try:
        yield Loaded(model, loaded.tokenizer, loaded.device)
    finally:
        model.unload()


def by_engine(loaded: Loaded, adapters: Adapters, options: argparse.Namespace) -> list[list[Any]]:
    """The product's way: rows compiled and requests built once, then asked of every configuration."""
    asked = Asked(tuple(documents(task_of(options), None)))
    found, work, path = [], None, None
    for adapter in adapters:
        with configured(loaded, adapter) as model:
            lm = engine(model, options.max_length, path)
            path, work = lm.engine, work or lm.workload(asked.instances)
            answered = {
                response.request: response.value
                for responses in lm.respond(work)
                for response in responses.found
            }
            answers = [answered[request] for request in range(len(asked.instances))]
            values(asked, answers)
        found.append(answers)
    return found


def by_lm_eval(loaded: Loaded, adapters: Adapters, options: argparse.Namespace, size: int) -> list[list[Any]]:
    """A whole run of lm-eval for each, but for the loading of model and catalogue."""
    found = []
    for adapter in adapters:
        (task,) = task_of(options).lm_tasks
        with as_lm_eval_has_it(loaded, adapter) as model:
            evaluate(plain(model, size, options.max_length), {"tasks": {TASK: task}, "groups": {}})
        found.append([instance.resps[0] for instance in task.instances])
    return found


def task_of(options: argparse.Namespace) -> CompiledTask:
    return compiled_plain(TASK, options.data, options.limit)
