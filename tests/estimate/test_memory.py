"""Memory: the measured peak, else parts that add up, from parameters that are known without loading."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.estimate import memory
from harness.estimate.memory import LIBRARIES, Held, Memory, trained_parameters, training_parts
from harness.estimate.sizes import ModelSize, size_of_files, size_of_source
from harness.experiment.model_source import model_source
from harness.experiment.schema import Quantization, Tuned
from tests.estimate.conftest import GPU, Project

BILLION = 10**9
# Mistral 7B v0.1 by its published shapes.
WIDTH, LAYERS, VOCABULARY, MLP, KEYS = 4096, 32, 32_000, 14_336, 1024
A_LAYER = {
    "self_attn.q_proj.weight": (WIDTH, WIDTH),
    "self_attn.k_proj.weight": (KEYS, WIDTH),
    "self_attn.v_proj.weight": (KEYS, WIDTH),
    "self_attn.o_proj.weight": (WIDTH, WIDTH),
    "mlp.gate_proj.weight": (MLP, WIDTH),
    "mlp.up_proj.weight": (MLP, WIDTH),
    "mlp.down_proj.weight": (WIDTH, MLP),
    "input_layernorm.weight": (WIDTH,),
    "post_attention_layernorm.weight": (WIDTH,),
}
MISTRAL = {
    "model.embed_tokens.weight": (VOCABULARY, WIDTH),
    "model.norm.weight": (WIDTH,),
    "lm_head.weight": (VOCABULARY, WIDTH),
    **{f"model.layers.{layer}.{name}": shape for layer in range(LAYERS) for name, shape in A_LAYER.items()},
}
CONFIG = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "vocab_size": VOCABULARY}
PARAMETERS = 7_241_732_096  # as its model card says


@pytest.fixture
def mistral(tmp_path: Path, save_model: Callable[..., Path]) -> ModelSize:
    found = size_of_files(
        save_model(tmp_path / "mistral", {name: list(s) for name, s in MISTRAL.items()}, **CONFIG)
    )
    assert found is not None
    return found


def recipe(method: str, **keys: object) -> Tuned:
    return Tuned.model_validate({"method": method, **keys})


def on_gpu(size: ModelSize, quantization: Quantization | None = None) -> Held:
    return Held(size, "bfloat16", quantization, "cuda")


def gigabytes(parts: dict[str, float]) -> dict[str, float]:
    return {name: round(value / BILLION, 1) for name, value in parts.items() if round(value / BILLION, 1)}


def test_parameters_are_read_from_the_headers_of_the_files(mistral: ModelSize) -> None:
    assert mistral.parameters == PARAMETERS
    assert (mistral.layers, mistral.width, mistral.vocabulary, mistral.heads) == (32, 4096, 32_000, 2)
    assert mistral.note is None


def test_full_fine_tuning_of_7b_needs_an_eight_bit_optimiser_on_one_card(mistral: ModelSize) -> None:
    usual = training_parts(recipe("full"), on_gpu(mistral), rows=1, row_tokens=1024)
    small = training_parts(
        recipe("full", weights_dtype="bfloat16", optimizer="adamw_8bit"), on_gpu(mistral), 1, 1024
    )

    assert gigabytes(usual) == {
        "weights": 29.0,
        "gradients": 29.0,
        "optimiser": 57.9,
        "16-bit copies": 14.5,
        "activations": 4.6,
        "logits": 0.5,
    }
    # The moments of the embedding stay in float32, as transformers asks of bitsandbytes.
    assert gigabytes(small) == {
        "weights": 14.5,
        "gradients": 14.5,
        "optimiser": 15.3,
        "activations": 4.6,
        "logits": 0.5,
    }
    assert sum(usual.values()) > GPU.memory > sum(small.values())  # type: ignore[operator]


def test_the_divergence_to_the_base_costs_a_frozen_copy_of_what_is_trained(mistral: ModelSize) -> None:
    def copy(tuned: Tuned) -> float:
        return training_parts(tuned, on_gpu(mistral), 1, 64)["frozen copy"]

    a_layer = sum(a * (b[0] if b else 1) for a, *b in A_LAYER.values())
    assert copy(recipe("full", kl=0.5)) == 2 * PARAMETERS
    assert copy(recipe("partial", kl=0.5, partial={"top_layers": 2})) == 2 * 2 * a_layer
    assert copy(recipe("lora", kl=0.5)) == 0  # the base is had by switching the adapter off
    assert copy(recipe("full")) == 0


def test_qlora_of_7b_holds_four_bits_a_weight_and_an_adapter_in_float32(mistral: ModelSize) -> None:
    tuned = recipe("qlora", gradient_checkpointing=True, lora={"r": 16, "target_modules": "all-linear"})

    parts = training_parts(tuned, on_gpu(mistral, Quantization()), rows=1, row_tokens=1024)

    assert trained_parameters(tuned, mistral) == 41_943_040  # as PEFT counts it
    assert gigabytes(parts) == {
        "weights": 4.1,
        "adapter": 0.2,
        "gradients": 0.2,
        "optimiser": 0.3,
        "activations": 0.4,
        "logits": 0.5,
    }


@pytest.mark.parametrize(
    ("target", "count"),
    [
        (["q_proj", "o_proj"], 2 * 32 * 8 * (WIDTH + WIDTH)),
        (r".*\.0\.mlp\.down_proj", 8 * (WIDTH + MLP)),
        ("all-linear", 20_971_520),
    ],
)
def test_an_adapter_is_on_the_modules_that_peft_would_choose(
    mistral: ModelSize, target: object, count: int
) -> None:
    assert trained_parameters(recipe("lora", lora={"r": 8, "target_modules": target}), mistral) == count


def test_partial_trains_layers_and_parameters_by_pattern(mistral: ModelSize) -> None:
    named = recipe("partial", partial={"modules": ["model.norm.weight", "*.layers.3.mlp.up_proj.*"]})

    assert trained_parameters(named, mistral) == WIDTH + MLP * WIDTH


def test_a_measured_peak_goes_before_an_estimate(project: Project) -> None:
    assert project.group("lora").memory is not None
    assert project.group("lora").memory.source == "estimated"  # type: ignore[union-attr]

    project.past_training("lora", peak_memory_bytes=4 * BILLION)
    project.past_training("lora", "tuned.lora.seeds=[1]", peak_memory_bytes=5 * BILLION)
    project.past_measuring("base", "choice")

    memory = project.group("lora", "tuned.lora.epochs=2").memory
    assert memory == Memory(5 * BILLION, "stored")
    assert project.group("base").memory == Memory(2 * BILLION, "stored")


@pytest.mark.parametrize(
    "override",
    [
        "tuned.lora.max_length=256",
        "tuned.lora.batch_size=4",
        "tuned.lora.micro_batch_size=4",
        "tuned.lora.kl=0.5",
        "tuned.lora.packing=true",
        "tuned.lora.gradient_checkpointing=true",
        'tuned.lora.optimizer="adamw_8bit"',
        'base.dtype="float32"',
    ],
)
def test_a_peak_of_other_settings_is_no_measurement_of_this_one(project: Project, override: str) -> None:
    project.past_training("lora", peak_memory_bytes=50 * BILLION)

    memory = project.group("lora", override).memory

    assert memory is not None
    assert memory.source == "estimated"


def test_the_parts_of_an_estimate_add_up_to_it(project: Project) -> None:
    memory = project.group("lora").memory

    assert memory is not None
    assert memory.value == sum(memory.parts.values())
    assert memory.parts["weights"] == 2 * BILLION
    assert memory.parts["libraries"] > LIBRARIES  # on a CPU the whole process is measured


def test_a_model_whose_size_is_nowhere_said_has_no_memory_but_a_note(project: Project) -> None:
    found = project.estimate('base.model="org/model"')

    assert all(group.memory is not None and group.memory.value is None for group in found.groups())
    assert "the memory of a model is unknown until it is downloaded: org/model" in found.notes
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("mistralai/Mistral-7B-v0.1", 7000),
        ("google/gemma-3-270m", 270),
        ("Qwen/Qwen2.5-0.5B-Instruct", 500),
        ("meta-llama/Llama-3.2-1B", 1000),
        ("7B-club/unnamed", None),
        ("mistralai/Mixtral-8x7B-v0.1", None),
        ("org/model-Q4_K-v2.5b", None),
        ("microsoft/phi-2", None),
    ],
)
def test_the_number_in_a_name_is_taken_for_a_size_where_it_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, millions: int | None
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))

    found = size_of_source(model_source(name, None, tmp_path), None, None)

    assert (found and found.parameters) == (millions and millions * 10**6)
    assert found is None or (found.note is not None and name in found.note.about)


def test_a_model_in_the_hub_cache_is_read_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save_model: Callable[..., Path]
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    cached = tmp_path / "hub" / "models--org--model-7B"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("abc123", encoding="utf-8")
    save_model(cached / "snapshots" / "abc123", {"a.weight": [10, 3]}, **CONFIG)

    for revision in (None, "main", "abc123"):
        found = size_of_source(model_source("org/model-7B", revision, tmp_path), None, None)
        assert found is not None
        assert found.parameters == 30


def test_of_a_folder_only_the_files_that_are_loaded_count(
    tmp_path: Path, save_model: Callable[..., Path]
) -> None:
    folder = save_model(tmp_path / "model", {"a.weight": [10, 3]}, **CONFIG)
    (folder / "consolidated.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    assert size_of_files(folder).parameters == 30  # type: ignore[union-attr]

    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    index = '{"weight_map": {"a.weight": "model-00001-of-00001.safetensors"}}'
    (folder / "model.safetensors.index.json").write_text(index, encoding="utf-8")
    assert size_of_files(folder).parameters == 30  # type: ignore[union-attr]


@pytest.mark.parametrize("damage", ["config.json", "model.safetensors"])
def test_a_folder_that_cannot_be_read_falls_back_to_what_a_training_counted(
    tmp_path: Path, save_model: Callable[..., Path], damage: str
) -> None:
    folder = save_model(tmp_path / "nameless", {"a.weight": [10, 3]}, **CONFIG)
    (folder / damage).write_bytes(b"\xff" * 40)
    source = model_source(str(folder), None, tmp_path)

    assert size_of_source(source, None, None) is None
    found = size_of_source(source, None, 123_000_000)
    assert found is not None
    assert found.parameters == 123_000_000


def test_a_gguf_without_a_number_in_its_name_is_sized_by_its_bytes(tmp_path: Path) -> None:
    file = tmp_path / "model-Q8_0.gguf"
    file.write_bytes(bytes(8500))

    found = size_of_source(model_source(str(file), None, tmp_path), None, None)

    assert found is not None
    assert found.parameters == 8000
    assert found.note is not None


def test_what_a_card_does_not_hold_is_warned_of_with_what_would_help(project: Project) -> None:
    project.machine = GPU
    project.add('[tuned.full]\nmethod = "full"')

    found = project.estimate('base.model="org/model-7B"')

    (warning,) = found.warnings
    assert warning.startswith("full needs about 12")
    assert warning.endswith(
        'a GPU has 80.0 GB: optimizer = "paged_adamw_8bit" or weights_dtype = "bfloat16" or '
        'gradient_checkpointing = true or method = "qlora" takes less'
    )
    fitting = project.estimate(
        'base.model="org/model-7B"',
        'tuned.full.weights_dtype="bfloat16"',
        'tuned.full.optimizer="paged_adamw_8bit"',
    )
    assert fitting.warnings == ()
    paged = "the states of a paged optimiser leave a GPU that is full, and are not in the memory"
    assert any(note.startswith(f"{paged}: 14.") for note in fitting.notes)


def test_a_model_too_large_to_be_measured_is_warned_of_too(project: Project) -> None:
    found = project.estimate('base.model="org/model-70B"')

    assert found.warnings[0].startswith("base needs about 14")
    assert found.warnings[0].endswith(
        "and this machine has 16.0 GB: set `quantization`, or take a smaller model"
    )


def test_on_a_gpu_rows_in_a_pass_back_off_before_there_is_a_warning(project: Project) -> None:
    (project.root / "train.jsonl").write_text('{"prompt": "p", "completion": "%s"}\n' % ("c" * 9000))
    project.machine = GPU
    keys = ['base.model="org/model-7B"', "tuned.lora.batch_size=256", "tuned.lora.max_length=1024"]

    automatic = project.estimate(*keys)
    fixed = project.estimate(*keys, "tuned.lora.micro_batch_size=256")

    assert automatic.warnings == ()
    assert len(fixed.warnings) == 1
    assert "gradient_checkpointing" in fixed.warnings[0]


def test_a_measurement_is_estimated_as_the_engine_packs() -> None:
    """The judging wing may not import the engine, so the numbers stand twice."""
    from harness.scoring import budget, reading

    assert memory.SCORING_PASS == budget.ENOUGH_NODES
    assert memory.LOGITS_READ == budget.LOGITS_HELD
    assert memory.UNCUT_LOGITS_READ == budget.UNCUT_LOGITS_HELD
    assert memory.SLICE == reading.SLICE_OF_DEVICE


def test_logits_are_estimated_as_the_loss_holds_them() -> None:
    from harness.training import loss

    assert memory.LOGITS_HELD == loss.LOGITS_HELD
