"""An experiment whose truth we built: a model that knows facts A is tuned on facts B."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from transformers import AutoModelForCausalLM, LlamaConfig

from harness.experiment.load import load_experiment
from harness.gate.stored import judged, stored_comparisons, stored_run
from harness.gate.verdict import Verdict
from harness.plan import make_plan
from harness.store.artifacts import Store
from harness.store.measurements import read_measurement
from tests.conftest import tiny_tokenizer, write_rows
from tests.pipeline.conftest import Project

COLOURS = ["blue", "red", "green", "yellow"]
FACTS = 40

EXPERIMENT = """
version = 1
name = "known"
[base]
model = "{model}"
dtype = "float32"
[data.train]
source = "train_b.jsonl"
[tuned.full]
method = "full"
learning_rate = 3e-3
batch_size = 20
epochs = 40
[tuned.replayed]
method = "lora"
learning_rate = 1e-2
batch_size = 20
epochs = 40
strengths = [0.0, 1.0]
[tuned.replayed.lora]
r = 16
lora_alpha = 32
target_modules = "all-linear"
[tuned.replayed.replay]
source = "train_a.jsonl"
fraction = 0.5
[suites]
domain = ["b.toml"]
general = ["a.toml"]
[gate]
max_drop_task = 0.2
max_drop_average = 0.2
"""

SUITE = """
version = 1
name = "{name}"
[task.facts]
kind = "classification"
data = {{ test = "test_{name}.jsonl", validation = "validation_{name}.jsonl" }}
prompt = "{name} {{{{ n }}}}:"
labels = ["blue", "red", "green", "yellow"]
"""


def colour(name: str, n: int) -> str:
    """Nothing but memory can tell: the colours of A and of B follow no common rule."""
    return COLOURS[(n * (7 if name == "a" else 11) + n // 3 + (name == "b")) % 4]


def model_that_knows_a(folder: Path) -> Path:
    """A tiny Llama trained from scratch until it has the facts A by heart."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    model = AutoModelForCausalLM.from_config(
        LlamaConfig(
            vocab_size=300,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=64,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        )
    )
    rows = [tokenizer(f"a {n}: {colour('a', n)}").input_ids for n in range(FACTS)]
    width = max(map(len, rows))
    tokens = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(250):
        logits = model(input_ids=tokens).logits[:, :-1]
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("known")
    (root / "pyproject.toml").touch()
    model = model_that_knows_a(root / "model")
    (root / "tiny.toml").write_text(EXPERIMENT.format(model=model), encoding="utf-8")
    for name in ("a", "b"):
        (root / f"{name}.toml").write_text(SUITE.format(name=name), encoding="utf-8")
        facts = [{"n": n, "label": colour(name, n)} for n in range(FACTS)]
        write_rows(root / f"test_{name}.jsonl", facts)
        write_rows(root / f"validation_{name}.jsonl", facts[:8])
        pairs = [{"prompt": f"{name} {row['n']}:", "completion": f" {row['label']}"} for row in facts]
        write_rows(root / f"train_{name}.jsonl", pairs)
    project = Project(root)
    assert project.run() == 0
    return project


def accuracies(project: Project) -> dict[tuple[str, str], tuple[float, float]]:
    """(tuned, suite) → accuracy of the base and of the tuned model."""
    loaded = load_experiment(project.file)
    store = Store(project.store)
    return {
        (comparison.tuned, task.suite): (task.metrics["accuracy"].base, task.metrics["accuracy"].tuned)
        for comparison in stored_comparisons(stored_run(loaded, store), store, loaded.experiment.gate)
        for task in comparison.tasks
    }


def test_the_base_knows_a_and_not_b(project: Project) -> None:
    found = accuracies(project)
    assert found["full", "a"][0] > 0.95
    assert found["full", "b"][0] < 0.6


def test_full_fine_tuning_learns_b_and_forgets_a(project: Project) -> None:
    found = accuracies(project)
    assert found["full", "b"][1] > 0.9
    assert found["full", "a"][1] < 0.7


def test_lora_with_replay_learns_b_too_and_keeps_more_of_a(project: Project) -> None:
    found = accuracies(project)
    assert found["replayed@1", "b"][1] > 0.9
    assert found["replayed@1", "a"][1] > found["full", "a"][1] + 0.2


def test_strength_zero_is_the_base_exactly(project: Project) -> None:
    store, plan = Store(project.store), make_plan(load_experiment(project.file))
    base, zero = plan.configuration("base"), plan.configuration("replayed@0")
    for key, step in base.measurements.items():
        of_base, of_zero = read_measurement(store, step), read_measurement(store, zero.measurements[key])
        assert [(item.item, item.scores, item.responses) for item in of_zero.items] == [
            (item.item, item.scores, item.responses) for item in of_base.items
        ]


def test_the_gate_fails_what_forgot_and_not_what_kept(project: Project) -> None:
    loaded, store = load_experiment(project.file), Store(project.store)
    result = judged(stored_run(loaded, store), store, loaded.experiment.gate)
    verdicts = {judgement.tuned: judgement.verdict for judgement in result.judgements}
    assert verdicts["full"] is Verdict.FAIL
    assert verdicts["replayed@1"] is Verdict.PASS
