"""Tiny real models, built in memory: two layers and a byte-level tokenizer, saved as safetensors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TEXT = (
    "the quick brown fox jumps over the lazy dog. sphinx of black quartz, judge my vow. "
    "Question: which colour is the sky? Answer: blue. red green yellow one two three four five"
)


def tiny_config(kind: str = "llama") -> Any:
    """A configuration of two layers and a few thousand weights."""
    import transformers as t

    shared = {
        "vocab_size": 300,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    gemma = {**shared, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 6}
    makers: dict[str, Callable[[], Any]] = {
        "llama": lambda: t.LlamaConfig(**shared, tie_word_embeddings=False),
        "mistral": lambda: t.MistralConfig(**shared, sliding_window=6),
        "qwen2": lambda: t.Qwen2Config(**shared),
        "phi": lambda: t.PhiConfig(**shared, partial_rotary_factor=0.5),
        "olmo2": lambda: t.Olmo2Config(**shared),
        "stablelm": lambda: t.StableLmConfig(**shared),
        "gpt_neox": lambda: t.GPTNeoXConfig(
            **{name: value for name, value in shared.items() if name != "num_key_value_heads"}
        ),
        "falcon": lambda: t.FalconConfig(
            vocab_size=300,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        ),
        "qwen3": lambda: t.Qwen3Config(**shared, head_dim=8),
        "gemma2": lambda: t.Gemma2Config(**gemma),
        "gemma3": lambda: t.Gemma3TextConfig(**gemma, layer_types=["sliding_attention", "full_attention"]),
        "gpt2": lambda: t.GPT2Config(
            vocab_size=300, n_embd=32, n_layer=2, n_head=4, n_positions=256, bos_token_id=1, eos_token_id=2
        ),
        "mamba": lambda: t.MambaConfig(
            vocab_size=300, hidden_size=32, num_hidden_layers=2, state_size=4, bos_token_id=1, eos_token_id=2
        ),
    }
    return makers[kind]()


def tiny_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def tiny_model(kind: str = "llama", seed: int = 0) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(tiny_config(kind)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # the default initialisation gives nearly uniform logits
            if parameter.ndim > 1:
                parameter.mul_(3)
    return model


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with its tokenizer, as a folder that `base.model` may name."""
    folder = tmp_path_factory.mktemp("tiny") / "llama"
    tiny_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="session")
def oracles() -> dict[str, Any]:
    """Reference numbers of statistics.md, made with R, scipy, statsmodels and scikit-learn."""
    file = Path(__file__).parent / "statistics" / "oracles.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found
