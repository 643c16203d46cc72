"""What the user declares, typed. Every default stands here and in the stored resolved file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from harness.experiment.declared import Declared, Fraction, Name, Positive, SomeTexts, Strength, Texts
from harness.experiment.gate_schema import Gate as Gate
from harness.experiment.suite_schema import Suite as Suite
from harness.experiment.suite_schema import Task as Task
from harness.experiment.suite_schema import TaskData as TaskData


class Quantization(Declared):
    """bitsandbytes 4-bit loading.

    type:          the 4-bit number format
    double:        whether the quantisation constants are quantised too
    compute_dtype: precision of the matrix products
    """

    type: Literal["nf4", "fp4"] = "nf4"
    double: bool = True
    compute_dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"


class Base(Declared):
    """The reference: what every tuned configuration begins as and is compared with.

    model:               a hub id, a folder, a .gguf file or `package:<import name>`
    revision:            branch, tag or commit of a model of the hub
    dtype:               precision in which the weights are loaded
    quantization:        4-bit loading of the base itself; without it the weights stay as they are
    trust_remote_code:   whether Python code that comes with the model may run
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


class RowTemplate(Declared):
    """Columns of any shape made into training text: Jinja over the row's columns.

    Either `text`, or `prompt` and `completion`.

    prompt:     what stands before the completion
    completion: what is trained on
    text:       a whole text, all of it trained on
    """

    prompt: str | None = None
    completion: str | None = None
    text: str | None = None


class TrainData(Declared):
    """Rows to train on.

    source:   a path, a glob, `hub:org/name@revision#split` or `python:module:function`
    format:   what the columns mean; "auto" looks at them and says what it took them for
    template: makes text of columns of any other shape, in place of `format`
    train_on: the part of a row that has a loss. "auto" is the completion, the assistant's turns or,
    where there is neither, all of it.
    limit:    at most so many rows, from the first
    """

    source: str
    format: Literal["auto", "prompt-completion", "messages", "text", "alpaca", "sharegpt", "tokens"] = "auto"
    template: RowTemplate | None = None
    train_on: Literal["auto", "completion", "assistant", "all"] = "auto"
    limit: Positive | None = None


class Data(Declared):
    """The rows that all recipes of the experiment train on.

    train:      the rows that are trained on
    validation: rows on which the loss is watched during training
    """

    train: TrainData
    validation: TrainData | None = None


class Partial(Declared):
    """What `partial` trains; everything else stays frozen.

    top_layers: so many of the last transformer layers
    modules:    patterns over parameter names, `*` for any part: "model.norm.weight", "*.mlp.*"
    """

    top_layers: Positive | None = None
    modules: Texts = ()


class Replay(TrainData):
    """General rows mixed into training, so that less is forgotten.

    fraction: their share of the mixture
    """

    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1


class EarlyStopping(Declared):
    """Stop when the validation loss no longer falls; the best weights are kept.

    patience:  validations without a lower loss after which training stops
    min_delta: by how much a loss must be lower to count
    """

    patience: Positive = 2
    min_delta: Annotated[float, Field(ge=0)] = 0.0


class Prompting(Declared):
    """The baseline without training: what a fine-tune has to beat.

    system: a system prompt before every question
    shots:  solved examples before every question, drawn from each task's validation rows
    """

    system: str | None = None
    shots: Annotated[int, Field(ge=0)] = 0


Method = Literal["lora", "qlora", "partial", "full", "adapter", "model", "prompt"]
TRAINED: tuple[Method, ...] = ("lora", "qlora", "partial", "full")


class Tuned(Declared):
    """One way to tune. Which keys a method needs and may use: harness/experiment/methods.py.

    method:           what is done to the base
    learning_rate:    its highest value, after the warm-up
    epochs:           passes over the training rows
    max_steps:        optimiser steps, in place of `epochs`
    batch_size:       rows in one optimiser step, whatever the machine
    micro_batch_size: rows in one forward pass; "auto" begins with all and halves on out-of-memory
    max_length:       tokens after which a row is cut
    packing:          whether several rows share one sequence; they do not see each other
    gradient_checkpointing: whether activations are computed twice to save memory
    optimizer:        AdamW, or one that holds its state in 8 bits
    warmup_ratio:     share of the steps in which the learning rate rises
    scheduler:        how the learning rate falls afterwards
    weight_decay:     how strongly weights are drawn to zero
    max_grad_norm:    length to which a longer gradient is cut
    weights_dtype:    precision in which `full` and `partial` hold the weights that they train
    checkpoint_steps: steps between checkpoints, from which a killed training goes on
    validations:      how many times the validation loss is measured
    seeds:            one training for each
    kl:               weight of KL(base ‖ tuned) on the trained tokens in the loss
    replay:           general rows mixed into training
    early_stopping:   stops when the validation loss no longer falls
    strengths:        scales at which the trained difference is measured; 1 is as trained, 0 the base
    quantization:     4-bit loading for this configuration; `qlora` has NF4 unless told otherwise
    lora:             fields of PEFT's LoraConfig by their own names
    partial:          which part of the base `partial` trains
    adapter, model:   a folder or hub id, for the methods of these names; `revision` is theirs
    revision:         branch, tag or commit of an adapter or model of the hub
    prompt:           what `prompt` writes before every question
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

    @property
    def is_scaled(self) -> bool:
        """Whether it is measured at a strength other than as trained."""
        return self.strengths != (1.0,)


class SuitePaths(Declared):
    """Suites by their roles, each a path from the project's root.

    domain:  what the tuned model must gain on
    general: what it must not lose
    """

    domain: SomeTexts
    general: Texts = ()


class Generate(Declared):
    """A prompt whose continuations by base and tuned are shown side by side; never gated.

    prompt:         what is continued
    max_new_tokens: where the continuation is cut
    """

    prompt: str
    max_new_tokens: Positive = 64


class Experiment(Declared):
    """One file: a base, tuned configurations, suites, a gate.

    version:  the version of this file's form
    name:     names the report and its folder
    base:     the reference configuration
    data:     rows to train on
    tuned:    one table `[tuned.<name>]` for each configuration that is compared with the base
    suites:   what is measured
    gate:     what is allowed
    generate: prompts whose continuations are shown
    """

    version: Literal[1]
    name: Name
    base: Base
    data: Data | None = None
    tuned: Annotated[dict[Name, Tuned], Field(min_length=1)]
    suites: SuitePaths
    gate: Gate = Gate()
    generate: Annotated[tuple[Generate, ...], Field(strict=False)] = ()


class LoadedSuite(Declared):
    model_config = ConfigDict(strict=False)

    path: str
    role: Literal["domain", "general"]
    suite: Suite


class LoadedExperiment(Declared):
    """The resolved experiment with its suites. All relative paths and `python:` modules start at `root`.

    overrides: the `--set` options that it was loaded with
    """

    model_config = ConfigDict(strict=False)

    path: Path
    root: Path
    overrides: tuple[str, ...] = ()
    experiment: Experiment
    suites: tuple[LoadedSuite, ...]
