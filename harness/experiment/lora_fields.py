"""What `[tuned.<name>.lora]` may hold: PEFT's LoraConfig, written out so that planning needs no PEFT.

A test compares names, types and defaults with the installed PEFT. Left out is what the harness sets
itself (HARNESS_SETS). A field without a value here stays PEFT's own default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

# From PeftConfig: they follow from the experiment and the base. `runtime_config` is an object
# that PEFT does not build from a table.
LEFT_OUT = frozenset(
    {
        "task_type",
        "peft_type",
        "auto_mapping",
        "peft_version",
        "base_model_name_or_path",
        "revision",
        "inference_mode",
        "runtime_config",
    }
)

# Initialisations that move a part of the base's own weights into the adapter.
REWRITES_BASE = ("pissa", "olora", "corda")

# PEFT dispatches on the text; `pissa_niter_<n>` carries a number.
_Initialisation = Literal["gaussian", "eva", "olora", "pissa", "corda", "loftq", "orthogonal", "mica"]
_PissaSteps = Annotated[str, Field(pattern=r"^pissa_niter_\d+$")]


class _Fields(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)


class LoftQ(_Fields):
    loftq_bits: int = 4
    loftq_iter: int = 1


class Eva(_Fields):
    rho: float = 2.0
    tau: float = 0.99
    use_label_mask: bool = True
    label_mask_value: int = -100
    whiten: bool = False
    adjust_scaling_factors: bool = True


class Corda(_Fields):
    cache_file: str | None = None
    covariance_file: str | None = None
    corda_method: Literal["ipm", "kpm"] = "ipm"
    verbose: bool = False
    use_float16_for_covariance: bool = False
    prune_temporary_fields: bool = True


class LoraGA(_Fields):
    direction: Literal["ArBr", "A2rBr", "ArB2r", "random"] = "ArB2r"
    scale: Literal["stable", "weight_svd", "gd_scale", "unit"] = "stable"
    stable_gamma: int = 16


class Velora(_Fields):
    num_groups: int = 64
    scale: float = 1.0
    init_type: Literal["batch_average", "batch_average_once", "random"] = "batch_average"


class Monteclora(_Fields):
    num_samples: int = 8
    use_entropy: bool = False
    dirichlet_prior: float = 0.1
    sample_scaler: float = 1e-4
    kl_loss_weight: float = 1e-5
    buffer_size: int = 150


class Arrow(_Fields):
    top_k: int = 3
    router_temperature: float = 1.0
    use_gks: bool = False
    rng_seed: int | None = None


class BdLora(_Fields):
    target_modules_bd_a: list[str] | None = None
    target_modules_bd_b: list[str] | None = None
    nblocks: int = 1
    match_strict: bool = True


class Kasa(_Fields):
    beta: float = 1e-4
    gamma: float = 1e-3


class LoraFields(_Fields):
    """PEFT's LoraConfig. Lists stay lists, because PEFT tells them from text by their type.

    r:                       rank of the adapter's matrices
    target_modules:          "all-linear", a list of module names, or one regular expression
    exclude_modules:         module names that get no adapter
    lora_alpha:              the adapter's output is scaled by lora_alpha / r
    lora_dropout:            share of the adapter's inputs that is dropped in training
    fan_in_fan_out:          whether weights are stored transposed, as in GPT-2
    bias:                    which of the base's biases are trained
    use_rslora:              scale by lora_alpha / √r instead
    modules_to_save:         modules of which whole copies are trained and stored
    init_lora_weights:       how the matrices begin; those that rewrite the base are stored as plain LoRA
    layers_to_transform:     indexes of the layers that get an adapter
    layers_pattern:          name of the list of layers, where PEFT cannot find it
    rank_pattern:            ranks of single modules
    alpha_pattern:           alphas of single modules
    megatron_config:         Megatron's parallel layers
    megatron_core:           the module of Megatron's core
    trainable_token_indices: tokens whose embedding is trained
    loftq_config:            for init_lora_weights = "loftq"
    eva_config:              for init_lora_weights = "eva"
    corda_config:            for init_lora_weights = "corda"
    lora_ga_config:          for LoRA-GA
    use_dora:                weight-decomposed LoRA
    velora_config:           for VeLoRA
    alora_invocation_tokens: tokens after which the adapter is active
    use_qalora:              quantisation-aware LoRA
    qalora_group_size:       its group size
    monteclora_config:       for MonteCLoRA
    layer_replication:       layers that are repeated
    lora_bias:               a trained bias in the adapter
    target_parameters:       parameters, rather than modules, that get an adapter
    use_bdlora:              block-diagonal LoRA
    arrow_config:            for Arrow routing
    kasa_config:             for KaSA
    ensure_weight_tying:     keep tied weights tied
    """

    r: Annotated[int, Field(ge=1)] = 8
    target_modules: str | list[str] | None = None
    exclude_modules: str | list[str] | None = None
    lora_alpha: Annotated[int, Field(ge=1)] = 8
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    fan_in_fan_out: bool = False
    bias: Literal["none", "all", "lora_only"] = "none"
    use_rslora: bool = False
    modules_to_save: list[str] | None = None
    init_lora_weights: bool | _Initialisation | _PissaSteps = True
    layers_to_transform: int | list[int] | None = None
    layers_pattern: str | list[str] | None = None
    rank_pattern: dict[str, int] | None = None
    alpha_pattern: dict[str, int] | None = None
    megatron_config: dict[str, int | float | bool | str] | None = None
    megatron_core: str = "megatron.core"
    trainable_token_indices: list[int] | dict[str, list[int]] | None = None
    loftq_config: LoftQ | None = None
    eva_config: Eva | None = None
    corda_config: Corda | None = None
    lora_ga_config: LoraGA | None = None
    use_dora: bool = False
    velora_config: Velora | None = None
    alora_invocation_tokens: list[int] | None = None
    use_qalora: bool = False
    qalora_group_size: int = 16
    monteclora_config: Monteclora | None = None
    layer_replication: list[list[int]] | None = None
    lora_bias: bool = False
    target_parameters: list[str] | None = None
    use_bdlora: BdLora | None = None
    arrow_config: Arrow | None = None
    kasa_config: Kasa | None = None
    ensure_weight_tying: bool = False

    @model_validator(mode="after")
    def _as_peft_checks(self) -> LoraFields:
        """What PEFT's own __post_init__ refuses, before anything is loaded."""
        if isinstance(self.target_modules, str):
            for name in ("layers_to_transform", "layers_pattern"):
                if getattr(self, name) is not None:
                    raise ValueError(f'`{name}` needs `target_modules` as a list; write ["q_proj", "v_proj"]')
        if self.layers_pattern and self.layers_to_transform is None:
            raise ValueError("`layers_pattern` needs `layers_to_transform`; write it beside it")
        if self.init_lora_weights == "loftq" and self.loftq_config is None:
            raise ValueError('`init_lora_weights = "loftq"` needs `loftq_config`; add a table of that name')
        if self.lora_bias and (self.use_dora or isinstance(self.init_lora_weights, str)):
            raise ValueError(
                "`lora_bias` works neither with DoRA nor with a named initialisation; take one of the two out"
            )
        return self


# Fields of a LoRA adapter that no scale takes back, so that strength 0 would not be the base.
_UNSCALED = {
    "use_dora": "DoRA also changes the magnitudes of the base's weights, and those have no scale",
    "modules_to_save": "it trains whole copies of modules, and a copy has no scale",
    "lora_bias": "it trains biases, and only the adapter's matrices are scaled",
    "trainable_token_indices": "it trains rows of the embedding, and those have no scale",
}


def unscaled(fields: Mapping[str, Any]) -> list[str]:
    """Why an adapter with these settings has no strength but its own; empty for plain LoRA."""
    reasons = [f"`{key}`: {why}" for key, why in _UNSCALED.items() if fields.get(key)]
    if fields.get("bias", "none") != "none":
        reasons.append(
            f'`bias = "{fields["bias"]}"`: it trains the base\'s own biases, and those have no scale'
        )
    if fields.get("init_lora_weights") == "loftq":
        reasons.append('`init_lora_weights = "loftq"`: it begins by changing the base\'s own weights')
    return reasons
