"""What the gate says of real adapters whose truth is known: made harmless, foreign, healthy, burnt, chatty.

    python -m tests.benchmarks.faults [NAME …]

On the demo's base (Gemma 3 270M) and suites, with world knowledge asked for in writing too:

    healthy    the demo's LoRA
    burnt      the same recipe at 50 times its learning rate
    chatty     the same recipe, and general questions answered after "Sure, …": the form is broken, not the knowledge
    untrained  the healthy adapter with B = 0: it changes nothing
    foreign    the healthy adapter, which declares another base

Each is run and gated by the command line. NAME is trained (healthy and burnt), chatty, untrained or foreign. Files are written to .harness/faults, results to the usual store.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from suites.world import validation

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / ".harness" / "faults"
ADAPTER, CONFIG = "adapter_model.safetensors", "adapter_config.json"

WRITTEN = """
[task.world_written]
kind           = "generated_choice"
data           = { test = "python:suites.world:test", validation = "python:suites.world:validation" }
prompt         = "One of these: {{ choices | join(', ') }}. {{ prompt }}"
choices        = "choices"
answer         = "answer"
likelihood     = "world"
max_new_tokens = 8
stop           = ["\\n"]
cluster        = "country"
"""

HEAD = """version = 1
name = "faults-{name}"
extends = "experiments/medical.toml"
[suites]
domain = ["suites/medical.toml"]
general = [".harness/faults/general.toml"]
"""
GATE = """[gate]
tuned = {names}
[gate.task."general/world_written"]
tier = "supporting"
"""
TRAINED = """[tuned.qlora]
unset = true
[tuned.burnt]
extends = "tuned.lora"
learning_rate = 1.5e-2
"""
GIVEN = """[tuned.lora]
unset = true
[tuned.qlora]
unset = true
[tuned.{name}]
method = "adapter"
adapter = ".harness/faults/{name}"
"""
CHATTY = """[data.train]
source = ".harness/faults/chatty.jsonl"
limit = 808
[tuned.lora]
unset = true
[tuned.qlora]
unset = true
[tuned.chatty]
extends = "experiments/medical.toml:tuned.lora"
"""


def write(name: str, tuned: str, names: list[str]) -> Path:
    path = WORK / f"{name}.toml"
    path.write_text(HEAD.format(name=name) + tuned + GATE.format(names=json.dumps(names)), encoding="utf-8")
    return path


def chatty_rows() -> None:
    """The demo's rows, and validation questions about the world whose answer comes after polite words."""
    from suites.medical import training_rows

    rows = [{"prompt": row["prompt"], "completion": row["completion"]} for row in training_rows()][:448]
    for row in validation():
        answer = row["choices"][row["answer"]]
        asked = f"One of these: {', '.join(row['choices'])}. {row['prompt']}"
        rows.append({"prompt": asked, "completion": f" … sure, I can help with that. It is {answer}."})
    order = np.random.default_rng(0).permutation(len(rows))
    lines = [json.dumps(rows[index]) + "\n" for index in order]
    (WORK / "chatty.jsonl").write_text("".join(lines), encoding="utf-8")


def made_of(healthy: Path) -> None:
    """The untrained and the foreign adapter, from the healthy one's files."""
    for name in ("untrained", "foreign"):
        shutil.rmtree(WORK / name, ignore_errors=True)
        (WORK / name).mkdir()
        for file in (ADAPTER, CONFIG):
            shutil.copy(healthy / file, WORK / name / file)
    tensors = load_file(WORK / "untrained" / ADAPTER)
    silent = {name: tensor * 0 if "lora_B" in name else tensor for name, tensor in tensors.items()}
    save_file(silent, WORK / "untrained" / ADAPTER, {"format": "pt"})
    declared = json.loads((WORK / "foreign" / CONFIG).read_text(encoding="utf-8"))
    declared["base_model_name_or_path"] = "google/gemma-3-1b-pt"
    (WORK / "foreign" / CONFIG).write_text(json.dumps(declared), encoding="utf-8")


def harness(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness", *arguments]
    return subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE)


def gated(path: Path) -> None:
    """Runs the experiment and prints what the gate says of each of its configurations."""
    harness("run", str(path))
    answer = json.loads(harness("gate", str(path), "--format", "json").stdout)
    for judgement in answer["judgements"]:
        print(f"\n{judgement['tuned']}: {judgement['verdict']}, exit code {judgement['exit_code']}")
        print(judgement["sentence"], flush=True)


def adapter_of(name: str) -> Path:
    """The folder of the store that keeps the adapter of this name."""
    records = sorted(
        (ROOT / ".harness" / "adapters").glob("*/step.json"), key=lambda path: path.stat().st_mtime
    )
    named = [path.parent for path in records if json.loads(path.read_text(encoding="utf-8"))["name"] == name]
    return named[-1]


def main() -> int:
    WORK.mkdir(parents=True, exist_ok=True)
    general = (ROOT / "suites" / "general.toml").read_text(encoding="utf-8")
    (WORK / "general.toml").write_text(general + WRITTEN, encoding="utf-8")
    chatty_rows()
    wanted = sys.argv[1:] or ["trained", "chatty", "untrained", "foreign"]
    if "trained" in wanted:
        gated(write("trained", TRAINED, ["lora", "burnt"]))
    if "chatty" in wanted:
        gated(write("chatty", CHATTY, ["chatty"]))
    for name in ("untrained", "foreign"):
        if name in wanted:
            made_of(adapter_of("lora"))
            gated(write(name, GIVEN.format(name=name), [name]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
