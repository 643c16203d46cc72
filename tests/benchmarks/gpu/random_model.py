"""Models without a checkpoint, as folders that `base.model` may name: real architectures, random weights.

    python -m tests.benchmarks.gpu.random_model mistral7b /tmp/mistral7b [--tokenizer FOLDER]

Speed and memory do not depend on what the weights are.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, MistralConfig

from tests.conftest import tiny_tokenizer

SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
CONFIGS = {
    "tiny": MistralConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        **SPECIAL,
    ),
    # mistralai/Mistral-7B-v0.1's own configuration, but for the padding token of the tokenizer used here.
    "mistral7b": MistralConfig(
        vocab_size=32000,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=32768,
        sliding_window=4096,
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
        **SPECIAL,
    ),
}


def write_random_model(name: str, folder: Path, tokenizer: Path | None = None) -> None:
    """The architecture `name` in bfloat16, made on the GPU where there is one.

    `tokenizer` is a folder with one whose special tokens are numbered as in SPECIAL; left out, it is a
    byte-level one of 300 tokens, with which a text is four times as long. The vocabulary is the
    architecture's own, larger only where the tokenizer's is.
    """
    words = AutoTokenizer.from_pretrained(tokenizer) if tokenizer else tiny_tokenizer()
    config = copy.deepcopy(CONFIGS[name])
    config.vocab_size = max(config.vocab_size, len(words))
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="2GB")
    words.save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=CONFIGS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tokenizer", type=Path, help="a folder with one, left out a tiny byte-level one")
    options = parser.parse_args()
    write_random_model(options.name, options.folder, options.tokenizer)
    weights = sum(path.stat().st_size for path in options.folder.glob("*.safetensors"))
    print(f"{options.folder}: {weights / 1e9:.2f} GB of weights")


if __name__ == "__main__":
    main()
