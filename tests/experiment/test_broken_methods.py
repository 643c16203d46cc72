"""What each method needs, what it has no use for, and what cannot go together: place, reason and remedy."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from harness.experiment.methods import KEYS_OF_METHOD
from harness.experiment.schema import TRAINED, Tuned

if TYPE_CHECKING:
    from tests.experiment.conftest import Broken, Project

E = "experiments/small.toml"
SUITES = "[suites]\n"
TRAIN = 'format = "prompt-completion"'
SOURCE = 'source = "python:rows:training_rows"'


def tuned(method: str, *lines: str) -> str:
    """One more tuned configuration, written before `[suites]`."""
    return "\n".join([f'[tuned.x]\nmethod = "{method}"', *lines, SUITES])


def strengths(*lines: str, said: str) -> Broken:
    """Strengths beside LoRA fields that no scale takes back."""
    old = "seeds = [0, 1]\n[tuned.lora.lora]\n"
    new = "⟦strengths = [0.5]\n[tuned.lora.lora]\n" + "".join(f"{line}\n" for line in lines)
    return E, old, new, said, "take one of the two out"


# As `Broken` says: the mark ⟦ stands where the problem is.
BROKEN: dict[str, Broken] = {
    "partial without a part": (E, SUITES, "⟦" + tuned("partial"), "which needs `partial`", "top_layers"),
    "partial of nothing": (E, SUITES, tuned("partial", "⟦partial = {}"), "chooses nothing to train", "top_layers"),
    "adapter without one": (E, SUITES, "⟦" + tuned("adapter"), "which needs `adapter`", 'adapter = "…"'),
    "model without one": (E, SUITES, "⟦" + tuned("model"), "which needs `model`", 'model = "…"'),
    "prompt without one": (E, SUITES, "⟦" + tuned("prompt"), "which needs `prompt`", "shots"),
    "prompt of nothing": (E, SUITES, tuned("prompt", "⟦prompt = {}"), "writes nothing before", "shots"),
    "prompt without shots": (E, SUITES, tuned("prompt", "⟦prompt = { shots = 0 }"), "writes nothing before", "at least 1"),
    "model that trains": (E, SUITES, tuned("model", 'model = "org/x"', "⟦epochs = 2"), "it trains nothing", "take it out"),
    "prompt that trains": (E, SUITES, tuned("prompt", "prompt = { shots = 1 }", "⟦seeds = [1]"), "it trains nothing", "take it out"),
    "adapter that trains": (E, SUITES, tuned("adapter", 'adapter = "org/x"', "⟦kl = 0.1"), "it trains nothing", "take it out"),
    "strengths of a model": (E, SUITES, tuned("model", 'model = "org/x"', "⟦strengths = [0.5]"), "no difference of weights", "take it out"),
    "strengths of a prompt": (E, SUITES, tuned("prompt", "prompt = { shots = 1 }", "⟦strengths = [0.5]"), "no difference of weights", "take it out"),
    "lora of full": (E, SUITES, tuned("full", "⟦lora = { r = 1 }"), "trains no adapter", 'method = "lora"'),
    "weights of lora": (E, "seeds = [0, 1]", '⟦weights_dtype = "bfloat16"', "none of the base's own weights", "take it out"),
    "partial of lora": (E, "seeds = [0, 1]", "⟦partial = { top_layers = 1 }", 'only "partial" trains', 'method = "partial"'),
    "adapter of lora": (E, "seeds = [0, 1]", '⟦adapter = "a/b"', 'only "adapter" loads', 'method = "adapter"'),
    "model of lora": (E, "seeds = [0, 1]", '⟦model = "a/b"', 'only "model" loads', 'method = "model"'),
    "prompt of lora": (E, "seeds = [0, 1]", "⟦prompt = { shots = 1 }", 'only "prompt" writes', 'method = "prompt"'),
    "revision of lora": (E, "seeds = [0, 1]", '⟦revision = "x"', "downloads nothing of its own", "take it out"),
    "quantised full": (E, SUITES, tuned("full", "⟦quantization = {}"), "4-bit weights cannot be trained", "take it out"),
    "full on a quantised base": (E, 'dtype = "bfloat16"', "quantization = {}\n[tuned.x]\n⟦method = \"full\"", "4-bit weights cannot", "qlora"),
    "two quantisations": (E, 'dtype = "bfloat16"', 'quantization = {}\n[tuned.x]\nmethod = "qlora"\n⟦quantization = { type = "fp4" }', "differs from `base.quantization`", "leave one"),
    "useless and inherited": (E, SUITES, '[tuned.x]\nextends = "tuned.lora"\n⟦method = "full"\n' + SUITES, "inherits `tuned.lora.lora`", "`lora = { unset = true }` in [tuned.x]"),
    "missing adapter": (E, SUITES, tuned("adapter", '⟦adapter = "./none"'), "there is no adapter at", "paths start at"),
    "adapter without config": (E, SUITES, tuned("adapter", '⟦adapter = "data"'), "no adapter_config.json", "save_pretrained"),
    "adapter in a file": (E, SUITES, tuned("adapter", '⟦adapter = "rows.py"'), "is a file", "name the folder"),
    "adapter of no hub": (E, SUITES, tuned("adapter", '⟦adapter = "nothing"'), "neither a folder nor a hub id", "org/name"),
    "missing model": (E, SUITES, tuned("model", '⟦model = "./none"'), "there is no model at", "paths start at"),
    "model package": (E, SUITES, tuned("model", '⟦model = "package:none_such"'), "is not installed", "pip install none-such"),
    "revision of a local model": (E, SUITES, tuned("model", 'model = "data"', '⟦revision = "x"'), "source of the hub", "take it out"),
    "odd micro batch": (E, "seeds = [0, 1]", "⟦micro_batch_size = 3", "must divide `batch_size`", "next smaller that does is 2"),
    "strength twice": (E, "seeds = [0, 1]", "strengths = [0.5, 1, ⟦1.0]", "the strength 1 stands twice", "take one out"),
    "strength too high": (E, "seeds = [0, 1]", "strengths = [⟦3.0]", "must be at most 2.0, not 3.0", "write a number"),
    "strengths of DoRA": strengths('use_dora = true', said="`use_dora`: DoRA also changes"),
    "strengths of copies": strengths('modules_to_save = ["x"]', said="copies of modules"),
    "strengths of biases": strengths('bias = "all"', said="trains the base's own biases"),
    "strengths of LoRA's biases": strengths('lora_bias = true', said="it trains biases"),
    "strengths of tokens": strengths('trainable_token_indices = [1]', said="rows of the embedding"),
    "strengths of LoftQ": strengths('init_lora_weights = "loftq"', 'loftq_config = {}', said="begins by changing"),
    "early without validation": (E, "seeds = [0, 1]", "⟦early_stopping = {}", "rows to measure the validation loss on", "add [data.validation]"),
    "missing replay": (E, "seeds = [0, 1]", 'replay = { ⟦source = "data/row.jsonl" }', "no file", "data/rows.jsonl"),
    "replay of training": (E, "seeds = [0, 1]", 'replay = { ⟦source = "python:rows:training_rows" }', "has rows of `data.train`", "general rows"),
    "replay of test": (E, "seeds = [0, 1]", 'replay = { ⟦source = "data/rows.jsonl" }', "test data of the task `domain.label`", "kept out"),
    "replay of all": (E, "seeds = [0, 1]", 'replay = { source = "python:rows:prose", ⟦fraction = 1.0 }', "must be less than 1.0", "default, 0.1"),
    "template and format": (E, TRAIN, "⟦" + TRAIN + '\ntemplate = { text = "{{ a }}" }', "`format` has no use beside it", "take one of the two out"),
    "template of both": (E, TRAIN, '⟦template = { text = "{{ a }}", prompt = "{{ b }}" }', "either `text`, or `prompt` and", "write `text"),
    "template of half": (E, TRAIN, '⟦template = { prompt = "{{ b }}" }', "either `text`, or `prompt` and", "and `completion"),
    "template of no Jinja": (E, TRAIN, 'template = { ⟦text = "{{ a }" }', "not a valid Jinja template", "{{ title }}"),
    "template of replay": (E, "seeds = [0, 1]", 'replay = { source = "python:rows:prose", template = { ⟦text = "{% if" } }', "`tuned.lora.replay.template.text` is not", "{{ title }}"),
    "validation is training": (E, "[tuned.lora]\n", f"[data.validation]\n⟦{SOURCE}\n[tuned.lora]\n", "has rows of `data.train`", "must not be trained on"),
    "chat template": (E, 'dtype = "bfloat16"', '⟦chat_template = "chat.jinja"', "there is no file `chat.jinja`", "paths start at"),
    "chat template of TOML": (E, 'dtype = "bfloat16"', '⟦chat_template = "suites/domain.toml"', "is not a .jinja file", "chat template"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN.values(), ids=BROKEN.keys())
def test_a_configuration_that_cannot_be_is_refused_with_the_reason(project: Project, case: Broken) -> None:
    project.assert_broken(case)


USELESS = {
    "learning_rate": "1e-3",
    "lora": "{ r = 2 }",
    "partial": "{ top_layers = 1 }",
    "adapter": '"org/x"',
    "model": '"org/x"',
    "prompt": "{ shots = 1 }",
    "quantization": "{}",
    "revision": '"main"',
    "weights_dtype": '"bfloat16"',
    "strengths": "[0.5]",
}
NEEDED = {
    "partial": "{ top_layers = 1 }",
    "adapter": '"org/y"',
    "model": '"org/y"',
    "prompt": "{ shots = 1 }",
}


@pytest.mark.parametrize("method", KEYS_OF_METHOD)
@pytest.mark.parametrize("key", USELESS)
def test_a_key_is_refused_exactly_where_the_method_has_no_use_for_it(
    project: Project, method: str, key: str
) -> None:
    lines = {"method": f'"{method}"', **({method: NEEDED[method]} if method in NEEDED else {})}
    lines.setdefault(key, USELESS[key])
    project.replace(
        E, SUITES, "[tuned.x]\n" + "\n".join(f"{k} = {v}" for k, v in lines.items()) + "\n" + SUITES
    )
    known = KEYS_OF_METHOD[method]
    if key in known.needs | known.may:
        project.load()
    else:
        (problem,) = project.problems()
        assert f"`tuned.x.{key}`" in problem.message
        assert f'`method = "{method}"`' in problem.message


def test_every_key_has_a_use_for_some_method() -> None:
    used = {"method"}.union(*(keys.needs | keys.may for keys in KEYS_OF_METHOD.values()))
    assert used == set(Tuned.model_fields)


@pytest.mark.parametrize("method", ["adapter", "model", "prompt"])
def test_what_trains_nothing_needs_no_training_rows(project: Project, method: str) -> None:
    before, _, after = (project.root / E).read_text().partition("[data.train]")
    project.write(
        E,
        f'{before}[tuned.x]\nmethod = "{method}"\n{method} = {NEEDED[method]}\n[suites]{after.partition("[suites]")[2]}',
    )
    project.replace(E, 'tuned = ["lora"]\n', "")
    assert project.load().experiment.data is None


@pytest.mark.parametrize("method", TRAINED)
def test_what_trains_needs_training_rows(project: Project, method: str) -> None:
    needed = f"{method} = {NEEDED[method]}\n" if method in NEEDED else ""
    project.replace(
        E, '[data.train]\nsource = "python:rows:training_rows"\nformat = "prompt-completion"\n', ""
    )
    before, _, after = (project.root / E).read_text().partition("[tuned.lora]")
    project.write(
        E, f'{before}[tuned.x]\nmethod = "{method}"\n{needed}[suites]{after.partition("[suites]")[2]}'
    )
    project.replace(E, 'tuned = ["lora"]\n', "")
    (problem,) = project.problems()
    assert "no `[data.train]`" in problem.message


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_4", "olora", "corda"])
def test_a_start_that_rewrites_the_base_may_have_strengths(project: Project, start: str) -> None:
    """It is stored converted to plain LoRA, whose scale leads to the base."""
    project.replace(E, "r = 16", f'r = 16\ninit_lora_weights = "{start}"')
    project.replace(E, "seeds = [0, 1]", "seeds = [0, 1]\nstrengths = [0, 0.5, 1]")
    assert project.load().experiment.tuned["lora"].strengths == (0.0, 0.5, 1.0)


def test_packing_and_kl_go_together(project: Project) -> None:
    project.replace(E, "seeds = [0, 1]", "packing = true\nkl = 0.1")
    assert project.load().experiment.tuned["lora"].kl == 0.1


def _adapter(project: Project, weights: str, **config: Any) -> None:
    project.write("theirs/adapter_config.json", json.dumps({"peft_type": "LORA", **config}))
    project.write(f"theirs/{weights}", "")
    project.replace(E, SUITES, tuned("adapter", 'adapter = "theirs"', "strengths = [0.5, 1]"))


def test_an_adapter_in_a_folder_loads(project: Project) -> None:
    _adapter(project, "adapter_model.safetensors", use_dora=False)
    assert project.load().experiment.tuned["x"].adapter == "theirs"


def test_a_pickled_adapter_is_refused_because_loading_it_runs_code(project: Project) -> None:
    _adapter(project, "adapter_model.bin")
    (problem,) = project.problems()
    assert "adapter_model.bin is a pickle, which can run any code" in problem.message
    assert "safe_serialization=True" in (problem.help or "")


def test_an_adapter_of_others_is_asked_whether_it_can_be_scaled(project: Project) -> None:
    _adapter(project, "adapter_model.safetensors", use_dora=True, bias="all")
    assert [problem.source_line for problem in project.problems()] == ["strengths = [0.5, 1]"] * 2


def test_a_broken_adapter_configuration_is_told(project: Project) -> None:
    _adapter(project, "adapter_model.safetensors")
    project.write("theirs/adapter_config.json", "[1")
    (problem,) = project.problems()
    assert "is not a JSON table" in problem.message


def test_a_useless_key_from_an_extended_file_is_taken_out_in_the_extending_one(project: Project) -> None:
    child = project.write(
        "child.toml", f'extends = "{E}"\n[tuned.lora]\nmethod = "full"\n[tuned.qlora]\nmethod = "qlora"\n'
    )
    (problem,) = type(project)(project.root, child).problems()
    assert (problem.file, problem.source_line) == (child, 'method = "full"')
    assert "`tuned.lora` inherits `tuned.lora.lora` (experiments/small.toml:16)" in problem.message
    assert problem.help == "write `lora = { unset = true }` in [tuned.lora]"


def test_a_mistake_that_two_configurations_inherit_is_told_once(project: Project) -> None:
    project.replace(E, "seeds = [0, 1]", "micro_batch_size = 5")
    assert len(project.problems()) == 1
