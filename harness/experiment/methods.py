"""Each method of tuning: what it needs, what it has a use for, and what its keys may not say together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.errors import Problem
from harness.experiment.document import KeyPath
from harness.experiment.keys import keys
from harness.experiment.located import Located
from harness.experiment.lora_fields import unscaled
from harness.experiment.model_checks import is_hub_id
from harness.experiment.project import Project
from harness.experiment.schema import TRAINED, Base, Method, Tuned
from harness.experiment.validate import value_at

_TRAINING = (
    "learning_rate epochs max_steps batch_size micro_batch_size max_length packing gradient_checkpointing "
    "optimizer warmup_ratio scheduler weight_decay max_grad_norm checkpoint_steps validations seeds kl "
    "replay early_stopping strengths"
)
KEYS_OF_METHOD = {
    "lora": keys("", f"{_TRAINING} lora"),
    "qlora": keys("", f"{_TRAINING} lora quantization"),
    "partial": keys("partial", f"{_TRAINING} weights_dtype"),
    "full": keys("", f"{_TRAINING} weights_dtype"),
    "adapter": keys("adapter", "revision strengths quantization"),
    "model": keys("model", "revision quantization"),
    "prompt": keys("prompt", "quantization"),
}
# Why a key has no use with a method that is not in the table above. Every other key is about training.
_WHY = {
    "lora": "it trains no adapter",
    "weights_dtype": "it trains none of the base's own weights",
    "strengths": "it makes no difference of weights that could be scaled",
    "revision": "it downloads nothing of its own; the base's is `base.revision`",
    "partial": 'only "partial" trains a chosen part of the base',
    "adapter": 'only "adapter" loads an adapter that others trained',
    "model": 'only "model" loads a second checkpoint',
    "prompt": 'only "prompt" writes before the question',
}
_WHY_NOT_QUANTIZED = {
    "lora": "it trains on the base as it is",
    "partial": "4-bit weights cannot be trained",
    "full": "4-bit weights cannot be trained",
}


def has_use(key: str, method: Method) -> bool:
    """Whether a configuration of this method has a use for the key."""
    known = KEYS_OF_METHOD[method]
    return key == "method" or key in known.needs or key in known.may


def check_tuned(
    located: Located, name: str, tuned: Tuned, base: Base | None, project: Project
) -> list[Problem]:
    """What is wrong with one tuned configuration beyond the types of its keys."""
    return [
        *_check_keys(located, name, tuned, project),
        *_check_quantization(located, name, tuned, base),
        *_check_loaded(located, name, tuned, project),
        *_check_numbers(located, name, tuned),
        *_check_strengths(located, name, tuned, project),
        *_check_biases(located, name, tuned),
    ]


def _check_biases(located: Located, name: str, tuned: Tuned) -> list[Problem]:
    """Trained biases of the base stay on when an adapter is switched off, so no proof could ever hold."""
    if tuned.lora.get("bias", "none") == "none":
        return []
    at: KeyPath = ("tuned", name, "lora", "bias")
    message = f"`{located.name(at)}` trains the base's own biases, which no adapter can switch off"
    return [located.problem(at, message, "take it out, or write lora_bias = true for biases of the adapter")]


def check_what_is_trained_on(located: Located, tuned: Mapping[str, Tuned]) -> list[Problem]:
    """Whether there are rows to train on and rows to stop early by."""
    problems = []
    trained = [name for name, one in tuned.items() if one.method in TRAINED]
    if trained and "data" not in located.table:
        at: KeyPath = ("tuned", trained[0], "method")
        said = f'`tuned.{trained[0]}` has `method = "{tuned[trained[0]].method}"`'
        remedy = 'add [data.train] with source = "…"'
        problems.append(located.problem(at, f"{said}, but there is no `[data.train]`", remedy))
    if value_at(located.table, ("data", "validation")) is None:
        for name, one in tuned.items():
            if one.early_stopping is not None and one.method in TRAINED:
                at = ("tuned", name, "early_stopping")
                message = f"`{located.name(at)}` needs rows to measure the validation loss on"
                problems.append(located.problem(at, message, 'add [data.validation] with source = "…"'))
    return problems


def _check_keys(located: Located, name: str, tuned: Tuned, project: Project) -> list[Problem]:
    table = value_at(located.table, ("tuned", name))
    problems = []
    for key in sorted(KEYS_OF_METHOD[tuned.method].needs - table.keys()):
        at: KeyPath = ("tuned", name)
        message = f'`{located.name(at)}` has `method = "{tuned.method}"`, which needs `{key}`'
        problems.append(located.problem_of_table(at, message, _NEEDED[key]))
    return problems + [
        _useless(located, ("tuned", name, key), tuned.method, project)
        for key in table
        if key in Tuned.model_fields and not has_use(key, tuned.method)
    ]


_NEEDED = {
    "partial": "add `[tuned.….partial]` with `top_layers = …` or `modules = […]`",
    "adapter": 'add `adapter = "…"`: a folder or a hub id',
    "model": 'add `model = "…"`: a folder, a .gguf file, package:name or a hub id',
    "prompt": 'add `[tuned.….prompt]` with `system = "…"` or `shots = …`',
}


def _useless(located: Located, at: KeyPath, method: Method, project: Project) -> Problem:
    """A key that the method ignores. One that is inherited is told where the method is chosen."""
    key = str(at[-1])
    why = _WHY_NOT_QUANTIZED[method] if key == "quantization" else _WHY.get(key, "it trains nothing")
    said = f'has no use with `method = "{method}"`: {why}'
    if _is_inherited(located, at):
        table, where = located.name(at[:2]), located.origin(at).in_words(project.root)
        message = f"`{table}` inherits `{located.name(at)}` ({where}), which {said}"
        remedy = f"write `{key} = {{ unset = true }}` in [{table}]"
        return located.problem((*at[:2], "method"), message, remedy)
    other = key if key in KEYS_OF_METHOD else "qlora" if (key, method) == ("quantization", "lora") else None
    remedy = f'write `method = "{other}"`, or take it out' if other else "take it out"
    return located.problem(at, f"`{located.name(at)}` {said}", remedy)


def _is_inherited(located: Located, at: KeyPath) -> bool:
    """Whether the key came by `extends`: it stands in another table than its configuration and the method."""
    key, *own = (located.origin(path) for path in (at, at[:2], (*at[:2], "method")))
    if key.path[0] != "tuned" or key.document.file is None:
        return False
    return all((origin.document, origin.path[:2]) != (key.document, key.path[:2]) for origin in own)


def _check_quantization(located: Located, name: str, tuned: Tuned, base: Base | None) -> list[Problem]:
    """A pair is compared at one quantisation, so base and tuned must not ask for two."""
    if base is None or base.quantization is None:
        return []
    at: KeyPath = ("tuned", name, "method")
    if tuned.method in _WHY_NOT_QUANTIZED:
        message = (
            f'`tuned.{name}` has `method = "{tuned.method}"`, but `base.quantization` quantises the base'
        )
        remedy = 'write `method = "qlora"`, or take `base.quantization` out'
        return [located.problem(at, f"{message}: {_WHY_NOT_QUANTIZED[tuned.method]}", remedy)]
    if tuned.quantization is not None and tuned.quantization != base.quantization:
        at = ("tuned", name, "quantization")
        message = f"`{located.name(at)}` differs from `base.quantization`; a pair has one quantisation"
        return [located.problem(at, message, "leave one of the two out")]
    return []


def _check_loaded(located: Located, name: str, tuned: Tuned, project: Project) -> list[Problem]:
    """The adapter or the checkpoint that is loaded in place of a training."""
    if tuned.method == "adapter" and tuned.adapter is not None:
        source, trouble = tuned.adapter, project.adapter_problem(tuned.adapter)
    elif tuned.method == "model" and tuned.model is not None:
        source, trouble = tuned.model, project.model_problem(tuned.model)
    else:
        return []
    at: KeyPath = ("tuned", name, tuned.method)
    problems = [located.placed(at, trouble)] if trouble else []
    if tuned.revision is not None and not is_hub_id(source, project.root):
        at = ("tuned", name, "revision")
        message = f"`{located.name(at)}` belongs to a source of the hub; `{source}` is none"
        problems.append(located.problem(at, message, "take it out"))
    return problems


def _check_numbers(located: Located, name: str, tuned: Tuned) -> list[Problem]:
    """Keys of which one limits the other."""
    problems = []
    if isinstance(tuned.micro_batch_size, int) and tuned.batch_size % tuned.micro_batch_size:
        at: KeyPath = ("tuned", name, "micro_batch_size")
        message = (
            f"`{located.name(at)}` must divide `batch_size`: "
            f"{tuned.batch_size} rows do not split into parts of {tuned.micro_batch_size}"
        )
        smaller = range(tuned.micro_batch_size, 0, -1)
        fitting = next(size for size in smaller if tuned.batch_size % size == 0)
        problems.append(located.problem(at, message, f"the next smaller that does is {fitting}"))
    if tuned.partial is not None and tuned.partial.top_layers is None and not tuned.partial.modules:
        at = ("tuned", name, "partial")
        message = f"`{located.name(at)}` chooses nothing to train"
        problems.append(located.problem(at, message, "write `top_layers = …` or `modules = […]`"))
    if tuned.prompt is not None and not (tuned.prompt.system or tuned.prompt.shots):
        at = ("tuned", name, "prompt")
        message = f"`{located.name(at)}` writes nothing before the question"
        problems.append(located.problem(at, message, 'write `system = "…"`, or `shots` of at least 1'))
    return problems


def _check_strengths(located: Located, name: str, tuned: Tuned, project: Project) -> list[Problem]:
    """Each strength once, and only where a scale leads from the base to what was trained."""
    at: KeyPath = ("tuned", name, "strengths")
    problems = [
        located.problem((*at, index), f"the strength {strength:g} stands twice", "take one out")
        for index, strength in enumerate(tuned.strengths)
        if strength in tuned.strengths[:index]
    ]
    if set(tuned.strengths) == {1.0}:
        return problems
    fields: Mapping[str, Any] = tuned.lora
    if tuned.method == "adapter":
        fields = project.adapter_config(tuned.adapter) if tuned.adapter is not None else {}
    elif tuned.method not in ("lora", "qlora"):
        return problems
    for reason in unscaled(fields):
        message = f"`{located.name(at)}` cannot be measured with {reason}"
        problems.append(located.problem(at, message, "take one of the two out"))
    return problems
