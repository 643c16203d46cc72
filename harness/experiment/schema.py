"""What the user declares, typed. Every default stands here and in the stored resolved file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.experiment.metrics import METRICS_OF_KIND

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$", max_length=80)]
Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Strength = Annotated[float, Field(ge=0.0, le=2.0)]
# The models are strict, so that `epochs = "3"` is an error; TOML's lists still become tuples.
Texts = Annotated[tuple[str, ...], Field(strict=False)]
SomeTexts = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)


class Quantization(_Declared):
    """bitsandbytes 4-bit loading. `double` quantises the quantisation constants too."""

    type: Literal["nf4", "fp4"] = "nf4"
    double: bool = True
    compute_dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"


class Base(_Declared):
    """The reference: `model` is a hub id, a folder, a .gguf file or `package:<import name>`.

    aliases:             other names of the same model, as an adapter may declare its base
    chat_template:       a Jinja file that takes the place of the tokenizer's own chat template
    apply_chat_template: whether suites' prompts and `[[generate]]` are asked through the chat template
    """

    model: str
    revision: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    quantization: Quantization | None = None
    trust_remote_code: bool = False
    aliases: Texts = ()
    chat_template: str | None = None
    apply_chat_template: bool = False


class RowTemplate(_Declared):
    """Columns of any shape made into training text: Jinja over the row's columns.

    Either `text`, or `prompt` and `completion`.
    """

    prompt: str | None = None
    completion: str | None = None
    text: str | None = None


class TrainData(_Declared):
    """Training rows: a path, a glob, `hub:org/name` or `python:module:function`.

    train_on: the part of a row that has a loss. "auto" is the completion, the assistant's turns or,
    where there is neither, all of it.
    """

    source: str
    format: Literal["auto", "prompt-completion", "messages", "text", "alpaca", "sharegpt", "tokens"] = "auto"
    template: RowTemplate | None = None
    train_on: Literal["auto", "completion", "assistant", "all"] = "auto"
    limit: Positive | None = None


class Data(_Declared):
    train: TrainData
    validation: TrainData | None = None


class Partial(_Declared):
    """What `partial` trains: the last `top_layers` transformer layers, and parameters by name pattern.

    `modules` are patterns over parameter names (`*` for any part): "model.norm.weight", "*.mlp.*".
    """

    top_layers: Positive | None = None
    modules: Texts = ()


class Replay(TrainData):
    """General rows mixed into training; `fraction` is their share of the mixture."""

    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1


class EarlyStopping(_Declared):
    """Stop after `patience` validations without a loss lower by `min_delta`; the best weights are kept."""

    patience: Positive = 2
    min_delta: Annotated[float, Field(ge=0)] = 0.0


class Prompting(_Declared):
    """The baseline without training: a system prompt, or solved examples before every question.

    `shots` are drawn from each task's validation rows.
    """

    system: str | None = None
    shots: Annotated[int, Field(ge=0)] = 0


Method = Literal["lora", "qlora", "partial", "full", "adapter", "model", "prompt"]
TRAINED: tuple[Method, ...] = ("lora", "qlora", "partial", "full")


class Tuned(_Declared):
    """One way to tune. `lora` holds PEFT LoraConfig fields by their own names.

    batch_size:       rows in one optimiser step, whatever the machine
    micro_batch_size: rows in one forward pass; "auto" begins with all and halves on out-of-memory
    weights_dtype:    precision in which `full` and `partial` hold the weights that they train
    validations:      how many times the validation loss is measured
    kl:               weight of KL(base ‖ tuned) on the trained tokens in the loss
    strengths:        scales at which the trained difference is measured; 1 is as trained, 0 the base
    adapter, model:   a folder or hub id, for the methods of these names; `revision` is theirs
    """

    method: Method
    learning_rate: Annotated[float, Field(gt=0)] = 2e-4
    epochs: Annotated[float, Field(gt=0)] = 1.0
    max_steps: Positive | None = None
    batch_size: Positive = 16
    micro_batch_size: Positive | Literal["auto"] = "auto"
    max_length: Positive = 512
    packing: bool = False
    gradient_checkpointing: bool = False
    optimizer: Literal["adamw", "adamw_8bit", "paged_adamw_8bit"] = "adamw"
    warmup_ratio: Fraction = 0.03
    scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "cosine"
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    weights_dtype: Literal["float32", "bfloat16"] = "float32"
    checkpoint_steps: Positive = 25
    validations: Positive = 4
    seeds: Annotated[tuple[int, ...], Field(strict=False, min_length=1)] = (0,)
    kl: Annotated[float, Field(ge=0)] = 0.0
    replay: Replay | None = None
    early_stopping: EarlyStopping | None = None
    strengths: Annotated[tuple[Strength, ...], Field(strict=False, min_length=1)] = (1.0,)
    quantization: Quantization | None = None
    lora: dict[str, Any] = Field(default_factory=dict)
    partial: Partial | None = None
    adapter: str | None = None
    model: str | None = None
    revision: str | None = None
    prompt: Prompting | None = None


class SuitePaths(_Declared):
    domain: SomeTexts
    general: Texts = ()


class Gate(_Declared):
    """The policy. Margins and gains are fractions: 0.065 is 6.5 percentage points."""

    tuned: SomeTexts | None = None
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    min_gain: float = 0.0
    max_drop_average: Annotated[float, Field(gt=0)] = 0.025
    max_drop_task: Annotated[float, Field(gt=0)] = 0.065
    max_bits_per_byte_increase: Annotated[float, Field(gt=0)] = 0.02
    on_inconclusive: Literal["block", "allow"] = "block"


class Generate(_Declared):
    """A prompt whose continuations by base and tuned are shown side by side; never gated."""

    prompt: str
    max_new_tokens: Positive = 64


class TaskData(_Declared):
    """Where a task's rows come from; validation may be a fraction of test, split by hash."""

    test: str
    validation: str | None = None
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2


class Task(_Declared):
    """One task of a suite, compiled to an lm-eval task in `tasks/`.

    prompt, choices, answer and text are either a column's name or a Jinja template over columns;
    `cluster` is a column's name. Left out, a classification's answer is the column `label`, the
    metrics are those of the kind, and the primary one is the first of them.
    """

    kind: Literal["multiple_choice", "classification", "qa", "perplexity", "lm_eval"]
    data: TaskData | None = None
    prompt: str | None = None
    choices: str | None = None
    answer: str | None = None
    text: str | None = None
    labels: Texts | None = None
    task: str | None = None
    num_fewshot: Annotated[int, Field(ge=0)] | None = None
    max_new_tokens: Positive = 32
    stop: Texts = ("\n",)
    metrics: SomeTexts | None = None
    primary: str | None = None
    gate: bool = True
    cluster: str | None = None
    limit: Positive | None = None

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_kind(cls, given: Any) -> Any:
        kind = given.get("kind") if isinstance(given, dict) else None
        if not isinstance(kind, str) or kind not in METRICS_OF_KIND:
            return given
        filled = {"metrics": list(METRICS_OF_KIND[kind]), **given}
        if kind == "classification":
            filled.setdefault("answer", "label")
        if isinstance(filled["metrics"], list | tuple) and filled["metrics"]:
            filled.setdefault("primary", filled["metrics"][0])
        return filled


class Suite(_Declared):
    version: Literal[1]
    name: Name
    licence: str | None = None
    source: str | None = None
    task: Annotated[dict[Name, Task], Field(min_length=1)]


class Experiment(_Declared):
    """One file: a base, tuned configurations, suites, a gate."""

    version: Literal[1]
    name: Name
    base: Base
    data: Data | None = None
    tuned: Annotated[dict[Name, Tuned], Field(min_length=1)]
    suites: SuitePaths
    gate: Gate = Gate()
    generate: Annotated[tuple[Generate, ...], Field(strict=False)] = ()


class LoadedSuite(_Declared):
    model_config = ConfigDict(strict=False)

    path: str
    role: Literal["domain", "general"]
    suite: Suite


class LoadedExperiment(_Declared):
    """The resolved experiment with its suites. All relative paths and `python:` modules start at `root`.

    overrides: the `--set` options that it was loaded with
    """

    model_config = ConfigDict(strict=False)

    path: Path
    root: Path
    overrides: tuple[str, ...] = ()
    experiment: Experiment
    suites: tuple[LoadedSuite, ...]
