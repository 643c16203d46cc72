"""What the user declares, typed. Every default stands here and in the stored resolved file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.experiment.metrics import METRICS_OF_KIND

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$", max_length=80)]
Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
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
    """The reference: `model` is a hub id, a folder, a .gguf file or `package:<import name>`."""

    model: str
    revision: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    quantization: Quantization | None = None
    trust_remote_code: bool = False


class TrainData(_Declared):
    """Training rows: a path, a glob, `hub:org/name` or `python:module:function`."""

    source: str
    format: Literal["auto", "prompt-completion", "messages", "text"] = "auto"
    limit: Positive | None = None


class Data(_Declared):
    train: TrainData
    validation: TrainData | None = None


class Tuned(_Declared):
    """How one adapter is made. `lora` holds PEFT LoraConfig fields by their own names."""

    method: Literal["lora", "qlora"]
    learning_rate: Annotated[float, Field(gt=0)] = 2e-4
    epochs: Annotated[float, Field(gt=0)] = 1.0
    max_steps: Positive | None = None
    batch_size: Positive = 16
    gradient_accumulation: Positive = 1
    max_length: Positive = 512
    warmup_ratio: Fraction = 0.03
    scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "cosine"
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    checkpoint_steps: Positive = 25
    seeds: Annotated[tuple[int, ...], Field(strict=False, min_length=1)] = (0,)
    quantization: Quantization | None = None
    lora: dict[str, Any] = Field(default_factory=dict)


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
    """The resolved experiment with its suites. All relative paths and `python:` modules start at `root`."""

    model_config = ConfigDict(strict=False)

    path: Path
    root: Path
    experiment: Experiment
    suites: tuple[LoadedSuite, ...]
