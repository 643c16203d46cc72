"""Every method through `harness plan` and `harness run`: a few steps, a few items, on a model of any size.

    python -m tests.benchmarks.gpu.methods MODEL_FOLDER [--only lora full] [--work DIR] [--json FILE]

Each method is an experiment and a process of its own, so that one that fails costs no other; they
share a store, so the base is measured once at each precision. Prints for each what the plan said of
memory before, and what was measured. All output of what fails is printed and kept.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.conftest import write_rows
from tests.pipeline.conftest import write_project

PROSE = Path("suites/data/prose.jsonl")
EXPERIMENT = """
version = 1
name = "{name}"
[base]
model = "{model}"
dtype = "bfloat16"
{data}
[tuned.{name}]
{recipe}
[suites]
domain = ["domain.toml"]
general = ["general.toml"]
[[generate]]
prompt = "the quick brown"
max_new_tokens = 4
"""
DATA = """
[data.train]
source = "train.jsonl"
[data.validation]
source = "validation.jsonl"
"""
STEPS = "batch_size = 8\nmax_length = 256\nmax_steps = 4\nvalidations = 1"
LORA = 'lora = { r = 16, lora_alpha = 16, target_modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj"] }'
EIGHT_BIT = 'optimizer = "adamw_8bit"\nweights_dtype = "bfloat16"\ngradient_checkpointing = true\nlearning_rate = 1e-5'
METHODS = {
    "prompt": 'method = "prompt"\nprompt = { system = "one two three", shots = 2 }',
    "lora": f'method = "lora"\n{STEPS}\n{LORA}',
    "strengths": f'method = "lora"\nstrengths = [0.0, 0.5, 1.0]\n{STEPS}\n{LORA}',
    "remedies": (
        f'method = "lora"\nkl = 0.5\nreplay = {{ source = "replay.jsonl", fraction = 0.25 }}\n'
        f"early_stopping = {{ patience = 1 }}\n{STEPS}\n{LORA}"
    ),
    "packed": f'method = "lora"\npacking = true\n{STEPS}\n{LORA}',
    "qlora": f'method = "qlora"\n{STEPS}\n{LORA}',
    "partial": f'method = "partial"\npartial = {{ top_layers = 2 }}\n{STEPS}',
    "adapter": 'method = "adapter"\nadapter = "{adapter}"',
    "model": 'method = "model"\nmodel = "{other}"',
    "full": f'method = "full"\n{EIGHT_BIT}\n{STEPS}',
}
UNTRAINED = ("prompt", "adapter", "model")


def experiment(name: str, work: Path, model: Path) -> Path:
    """The experiment file of one method."""
    recipe = METHODS[name]
    if name == "adapter":
        recipe = recipe.replace("{adapter}", str(trained_adapter(work / "store")))
    if name == "model":
        recipe = recipe.replace("{other}", str(another_checkpoint(model, work / "other")))
    data = "" if name in UNTRAINED else DATA
    file = work / "project" / f"{name}.toml"
    file.write_text(EXPERIMENT.format(name=name, model=model, data=data, recipe=recipe), encoding="utf-8")
    return file


def write_training_rows(root: Path) -> None:
    """Prose that fills `max_length`, so that the plan's memory and the measured one are of the same rows."""
    texts = [json.loads(line)["text"] for line in PROSE.read_text(encoding="utf-8").splitlines()]
    rows = [{"text": text} for text in texts]
    write_rows(root / "train.jsonl", rows[:32])
    write_rows(root / "validation.jsonl", rows[32:40])
    write_rows(root / "replay.jsonl", rows[40:])


def trained_adapter(store: Path) -> Path:
    found = sorted(store.glob("adapters/*/adapter_config.json"))
    if not found:
        raise LookupError("no adapter is in the store: `lora` has to run before `adapter`")
    return found[0].parent


def another_checkpoint(model: Path, folder: Path) -> Path:
    """The same model with another final norm: links to its files, but for the one that holds it."""
    if folder.is_dir():
        return folder
    folder.mkdir(parents=True)
    for file in model.iterdir():
        if file.suffix != ".safetensors" or not _holds_norm(file):
            (folder / file.name).symlink_to(file)
            continue
        tensors = load_file(file)
        tensors["model.norm.weight"] = tensors["model.norm.weight"] * 1.5
        save_file(tensors, folder / file.name, metadata={"format": "pt"})
    return folder


def _holds_norm(file: Path) -> bool:
    with safe_open(file, "pt") as opened:
        return "model.norm.weight" in opened.keys()  # noqa: SIM118 (it is no dict)


@contextmanager
def gpu_memory() -> Iterator[list[int]]:
    """MiB of the whole GPU as nvidia-smi sees it, twice a second; empty without a GPU."""
    seen: list[int] = []
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.5):
            asked = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
            try:
                seen.append(int(subprocess.run(asked, capture_output=True, text=True).stdout.split()[0]))
            except (OSError, IndexError, ValueError):
                return

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


def harness(*arguments: str, limit: float = 280) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `harness …`."""
    command = [sys.executable, "-m", "harness", *arguments]
    environment = {**os.environ, "COLUMNS": "110"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, env=environment)
    except subprocess.TimeoutExpired as error:
        return 124, _text(error.stdout), _text(error.stderr) + f"\nstopped after {limit:.0f} s"
    return done.returncode, done.stdout, done.stderr


def _text(output: str | bytes | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


def records(store: Path) -> dict[Path, dict[str, Any]]:
    """What is remembered of every training."""
    found = [*store.glob("adapters/*/step.json"), *store.glob("weights/*/step.json")]
    return {file: json.loads(file.read_text(encoding="utf-8")) for file in found}


def measure(name: str, work: Path, model: Path) -> dict[str, Any]:
    """Plan and run one method."""
    file, store = experiment(name, work, model), work / "store"
    planned = harness("plan", str(file), "--store", str(store))
    before, started = records(store), time.monotonic()
    with gpu_memory() as seen:
        code, output, said = harness("run", str(file), "--store", str(store))
    made = [record for path, record in records(store).items() if path not in before]
    return {
        "method": name,
        "exit_code": code,
        "seconds": time.monotonic() - started,
        "plan_exit_code": planned[0],
        "plan": planned[1] + planned[2],
        "peak_gpu_mib": max(seen, default=None),
        "training": made[0] if made else None,
        "output": output,
        "said": said,
    }


def shown(result: dict[str, Any]) -> None:
    """A line of numbers; what the plan said of memory; everything, where something failed."""
    record = result.get("training") or {}
    peak = record.get("peak_memory_bytes")
    print(
        f"{result['method']:<10} exit {result['exit_code']}  {result['seconds']:>6.1f} s  "
        f"training peak {f'{peak / 1e9:.2f} GB' if peak else '-'}  "
        f"whole GPU {result['peak_gpu_mib'] or '-'} MiB  "
        f"{record.get('tokens_per_second') or 0:.0f} tokens/s  {result['output'].strip()[:90]}",
        flush=True,
    )
    for line in result["plan"].splitlines():
        if "memory" in line.lower() or " GB" in line:
            print(f"           plan: {line.strip()}")
    if result["exit_code"] or result["plan_exit_code"]:
        print(f"{result['plan']}\n{result['output']}\n{result['said']}\n---", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--only", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "harness-methods")
    parser.add_argument("--json", type=Path, help="every result, written as they come")
    options = parser.parse_args()
    model = options.model.resolve()
    project = write_project(options.work / "project", model)
    write_training_rows(project.root)
    results: list[dict[str, Any]] = []
    for name in options.only:
        try:
            result = measure(name, options.work, model)
        except (OSError, LookupError, ValueError) as error:
            result = {"method": name, "exit_code": 1, "error": f"{type(error).__name__}: {error}"}
            print(f"{name:<10} not run: {result['error']}", flush=True)
        else:
            shown(result)
        results.append(result)
        if options.json:
            options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0 if all(result["exit_code"] == 0 for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
