"""The written-out LoRA fields equal the installed PEFT's: names, defaults, nested tables."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from pydantic import BaseModel

from harness.experiment.lora_fields import LEFT_OUT, LoraFields


def _defaults(model: type[BaseModel]) -> dict[str, Any]:
    return {name: field.default for name, field in model.model_fields.items()}


def _peft_defaults(config: Any) -> dict[str, Any]:
    made = config()
    return {field.name: getattr(made, field.name) for field in dataclasses.fields(config) if field.init}


def test_names_and_defaults_are_pefts() -> None:
    peft = pytest.importorskip("peft")
    pefts = {name: value for name, value in _peft_defaults(peft.LoraConfig).items() if name not in LEFT_OUT}
    empty_tables = {"rank_pattern", "alpha_pattern", "loftq_config"}
    assert {name: None if name in empty_tables else value for name, value in pefts.items()} == _defaults(
        LoraFields
    )
    assert {field.name for field in dataclasses.fields(peft.LoraConfig)} >= LEFT_OUT


NESTED = {
    "loftq_config": "LoftQConfig",
    "eva_config": "EvaConfig",
    "corda_config": "CordaConfig",
    "lora_ga_config": "LoraGAConfig",
    "velora_config": "VeloraConfig",
    "monteclora_config": "MontecloraConfig",
    "use_bdlora": "BdLoraConfig",
    "arrow_config": "ArrowConfig",
    "kasa_config": "KasaConfig",
}


@pytest.mark.parametrize("field", NESTED)
def test_nested_tables_are_pefts(field: str) -> None:
    config = pytest.importorskip("peft.tuners.lora.config")
    models = [
        option for option in LoraFields.model_fields[field].annotation.__args__ if option is not type(None)
    ]
    assert _defaults(models[0]) == _peft_defaults(getattr(config, NESTED[field]))


@pytest.mark.parametrize(
    "table",
    [
        {"r": 4, "target_modules": "all-linear", "use_dora": True},
        {"init_lora_weights": "pissa_niter_4", "target_modules": ["q_proj"], "layers_to_transform": 1},
        {"init_lora_weights": "eva", "eva_config": {"rho": 1.5}, "rank_pattern": {"q_proj": 4}},
        {
            "init_lora_weights": "loftq",
            "loftq_config": {"loftq_bits": 4},
            "trainable_token_indices": {"a": [1]},
        },
    ],
)
def test_what_is_accepted_builds_pefts_config(table: dict[str, Any]) -> None:
    peft = pytest.importorskip("peft")
    filled = LoraFields.model_validate(table).model_dump(exclude_none=True)
    made = peft.LoraConfig(task_type="CAUSAL_LM", **filled)
    assert made.r == filled["r"]
