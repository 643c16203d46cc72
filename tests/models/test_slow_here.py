from __future__ import annotations

from typing import Any

import pytest
import torch

from harness.models.loading import slow_here


@pytest.mark.parametrize(
    ("dtype", "gpu", "capabilities", "is_slow"),
    [
        ("bfloat16", False, {"avx512_bf16": False}, True),
        ("bfloat16", False, {"avx512_bf16": True}, False),
        ("bfloat16", False, {"neon": True}, False),
        ("bfloat16", True, {"avx512_bf16": False}, False),
        ("float32", False, {"avx512_bf16": False}, False),
    ],
)
def test_only_a_processor_known_to_emulate_bfloat16_is_called_slow(
    dtype: str, gpu: bool, capabilities: dict[str, Any], is_slow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)

    note = slow_here(dtype)

    assert (note is not None and '`base.dtype = "float32"`' in note) == is_slow
