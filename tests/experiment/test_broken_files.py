"""Broken experiments and suites: each names the place, the mistake and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.experiment.conftest import Broken, Project

E, D, G = "experiments/small.toml", "suites/domain.toml", "suites/general.toml"

# As `Broken` says: the mark ⟦ stands where the problem is.
BROKEN = {
    "unknown top key": (E, 'name = "small"', 'name = "small"\n⟦nmae = 1', "unknown key `nmae`", "did you mean `name`?"),
    "unknown table": (E, "[gate]", "[⟦gaet]", "unknown key `gaet`", "did you mean `gate`?"),
    "unknown key of tuned": (E, "seeds = [0, 1]", "⟦seed = [0]", "`tuned.lora.seed`", "did you mean `seeds`?"),
    "no near key": (E, "[gate]", "[gate]\n⟦zzz = 1", "unknown key `gate.zzz`", "expected one of `tuned`, `alpha`"),
    "quoted key": (E, "[gate]", '[gate]\n⟦"odd key" = 1', 'unknown key `gate."odd key"`', "expected one of"),
    "key of an array of tables": (E, "prompt = \"Act", "⟦promt = 1\nprompt = \"Act", "`generate[0].promt`", "`prompt`"),
    "key of an inline table": (E, "r = 16", "r = 16\nloftq_config = { ⟦bits = 4 }", "loftq_config.bits", "loftq_bits"),
    "LoRA key beside it": (E, "seeds = [0, 1]", "⟦r = 3", "unknown key `tuned.lora.r`", "belongs to `[tuned.lora.lora]`"),
    "recipe key in lora": (E, "r = 16", "⟦learning_rate = 1.0", "lora.learning_rate", "belongs to `[tuned.lora]`"),
    "unknown LoRA key": (E, "r = 16", "⟦rnak = 16", "unknown key `tuned.lora.lora.rnak`", "rank_pattern"),
    "LoRA key of the harness": (E, "r = 16", '⟦task_type = "X"', "set by the harness", "take it out"),
    "LoRA dropout": (E, "r = 16", "⟦lora_dropout = 1.5", "must be less than 1.0, not 1.5", "default, 0.0"),
    "LoRA initialisation": (E, "r = 16", '⟦init_lora_weights = "piza"', "init_lora_weights", "did you mean \"pissa\"?"),
    "layers with text": (E, "[tuned.lora.lora]\nr = 16", "[tuned.lora.⟦lora]\nlayers_to_transform = [1]", "needs `target_modules`", "write [\"q_proj\""),
    "whole number": (E, "learning_rate = 2e-4", "⟦batch_size = 1.5", "must be a whole number, not 1.5", "default, 16"),
    "true for a number": (E, "learning_rate = 2e-4", "⟦epochs = true", "must be a number, not true", "default, 1.0"),
    "infinite": (E, "learning_rate = 2e-4", "⟦epochs = inf", "must be a finite number", "default, 1.0"),
    "text for a list": (E, "seeds = [0, 1]", "⟦seeds = 0", "must be a list of whole numbers, not 0", "default, [0]"),
    "element of a list": (E, "[0, 1]", '[0, ⟦"1"]', "`tuned.lora.seeds[1]` must be a whole number", "without quotes: 1"),
    "element on its own line": (E, "[0, 1]", "[\n  0, # first\n  ⟦-1.5,\n]", "seeds[1]", "write a whole number"),
    "empty list": (E, "seeds = [0, 1]", "⟦seeds = []", "must not be empty", "default, [0]"),
    "zero": (E, "learning_rate = 2e-4", "⟦learning_rate = 0.0", "must be greater than 0.0, not 0.0", "default, 0.0002"),
    "too large": (E, "alpha = 0.05", "⟦alpha = 0.7", "`gate.alpha` must be less than 0.5, not 0.7", "default, 0.05"),
    "unknown method": (E, 'method = "lora"', '⟦method = "lorra"', 'cannot be "lorra"', 'did you mean "lora"?'),
    "unknown dtype": (E, 'dtype = "bfloat16"', '⟦dtype = "int3"', 'cannot be "int3"', '"float32"'),
    "version": (E, "version = 1", "⟦version = 2", "`version` cannot be 2", "expected one of 1"),
    "yes in quotes": (E, 'dtype = "bfloat16"', '⟦trust_remote_code = "yes"', "true or false", "write true without quotes"),
    "bad name": (E, 'name = "small"', '⟦name = "a b"', "not a valid name", "letters, digits"),
    "bad name of a table": (E, "[[generate]]", '[tuned.⟦"a b"]\nmethod = "lora"\n[[generate]]', "not a valid name", "letters"),
    "missing key": (E, '[base]\nmodel = "google/gemma"', "⟦[base]", "the key `base.model` is missing", "add `model = …` to `[base]`: text"),
    "missing key of tuned": (E, '[tuned.lora]\nmethod = "lora"', "⟦[tuned.lora]", "`tuned.lora.method`", '"qlora"'),
    "missing key in an element": (E, '[[generate]]\nprompt = "Act as a travel guide"', "⟦[[generate]]", "`generate[0].prompt`", "add `prompt = …`"),
    "missing top key": (E, 'version = 1\nname = "small"', "⟦version = 1", "the key `name` is missing", "at the top of the file"),
    "value for a table": (E, "[[generate]]", "[tuned]\n⟦x = 3\n[[generate]]", "`tuned.x` must be a table, not 3", "write a table: [tuned.x]"),
    "extends itself": (E, 'extends = "tuned.lora"', '⟦extends = "tuned.qlora"', "goes round in a circle: qlora → qlora", "take one of the `extends` out"),
    "gate names no tuned": (E, '["lora"]', '[⟦"lor"]', '`gate.tuned` names "lor"', 'did you mean "lora"?'),
    "gate names one twice": (E, '["lora"]', '["lora", ⟦"lora"]', "twice", "take one out"),
    "missing package": (E, 'model = "google/gemma"', '⟦model = "package:no_such_model"', "is not installed", "pip install no-such-model"),
    "missing gguf": (E, 'model = "google/gemma"', '⟦model = "models/x.gguf"', "there is no model at `models/x.gguf`", "paths start at"),
    "missing folder": (E, 'model = "google/gemma"', '⟦model = "./models/x"', "there is no model at", "paths start at"),
    "neither folder nor hub": (E, 'model = "google/gemma"', '⟦model = "gemma"', "neither a folder nor a hub id", "org/name"),
    "revision of a folder": (E, 'model = "google/gemma"', 'model = "data"\n⟦revision = "x"', "belongs to a model of the hub", "take it out"),
    "lora with quantization": (E, "seeds = [0, 1]", "⟦quantization = {}", "trains on the base as it is", 'write `method = "qlora"`'),
    "hub form": (E, 'source = "python:rows:training_rows"', '⟦source = "hub:"', "is not of the form hub:org/name", "@revision"),
    "python form": (E, 'source = "python:rows:training_rows"', '⟦source = "python:rows"', "is not of the form", "write python:"),
    "function with arguments": (E, 'source = "python:rows:training_rows"', '⟦source = "python:rows:needs"', "needs arguments", "default"),
    "missing function": (E, 'source = "python:rows:training_rows"', '⟦source = "python:rows:training_row"', "no function", "`training_rows`"),
    "missing data file": (E, 'source = "python:rows:training_rows"', '⟦source = "data/row.jsonl"', "no file", "`data/rows.jsonl`"),
    "folder of data": (E, 'source = "python:rows:training_rows"', '⟦source = "data"', "is a folder", "data/*.jsonl"),
    "unreadable kind": (E, 'source = "python:rows:training_rows"', '⟦source = "rows.py"', "not a kind of file", ".jsonl"),
    "training on test": (E, 'source = "python:rows:training_rows"', '⟦source = "data/rows.jsonl"', "has rows of the test data of the task", "out of training"),
    "missing suite": (E, '"suites/domain.toml"', '⟦"suites/domian.toml"', "there is no file", "domain.toml`?"),
    "suite twice": (E, '"suites/general.toml"', '⟦"suites/domain.toml"', 'a second suite named "domain"', "once"),
    "suite: unknown key": (D, "labels =", "⟦lables =", "unknown key `task.label.lables`", "did you mean `labels`?"),
    "suite: kind": (D, "kind = ", "⟦kind = \"clasification\" #", "cannot be", 'did you mean "classification"?'),
    "suite: metric": (D, '"macro_f1"]', '⟦"macrof1"]', 'there is no metric "macrof1"', 'did you mean "macro_f1"?'),
    "suite: metric of a kind": (D, '"macro_f1"]', '⟦"perplexity"]', "a task of kind classification has no metric", "probability"),
    "suite: primary": (D, "metrics =", '⟦primary = "probability"\nmetrics =', "not among the task's metrics", "expected one of"),
    "suite: unusable key": (G, "text = ", '⟦prompt = "x"\ntext = ', "a task of kind perplexity cannot use `prompt`", "take it out"),
    "suite: lm_eval with a prompt": (G, "task = \"arc", "⟦prompt = \"x\"\ntask = \"arc", "kind lm_eval cannot use `prompt`", "take it out"),
    "suite: empty glob": (G, 'test = "data/choice*', '⟦test = "data/none*', "no file matches", "patterns start at"),
    "suite: template": (D, 'prompt = "{{ title }}:"', '⟦prompt = "{{ title }"', "not a valid Jinja template", "{{ title }}"),
    "suite: label twice": (D, '"b"]', '"b", ⟦"a"]', 'the label "a" stands twice', "take one out"),
    "suite: one label": (D, 'labels = ["a", "b"]', '⟦labels = ["a"]', "at least two", "write labels ="),
    "suite: bad split": (G, "validation_fraction = 0.3", "⟦validation_fraction = 1.3", "must be less than 1.0, not 1.3", "default, 0.2"),
    "suite: validation is test": (D, "}", ', ⟦validation = "data/rows.jsonl" }', "has rows of its test data", "by hash"),
    "suite: two splits": (G, "validation_fraction", 'validation = "data/rows.jsonl", ⟦validation_fraction', "no use beside", "keep one of the two"),
}  # fmt: skip
# Where the mark cannot stand in the replaced text: file → text, broken text, the line that is meant.
ELSEWHERE = {
    "LoRA type": (E, '"all-linear"', "5", "target_modules", "text or a list of text, not 5", 'in quotes: "5"'),
    "number in quotes": (E, "2e-4", '"2e-4"', "learning_rate", 'must be a number, not "2e-4"', "without quotes: 2e-4"),
    "extends unknown": (E, '"tuned.lora"', '"tuned.lorra"', "extends", "names no tuned configuration", '"tuned.lora"'),
    "lora on a quantised base": (E, 'dtype = "bfloat16"', "quantization = {}", "method", "quantises the base", "qlora"),
    "missing data train": (E, '[data.train]\nsource = "python:rows:training_rows"\nformat = "prompt-completion"\n', "", "method", "no `[data.train]`", "add [data.train]"),
    "missing module": (E, "python:rows:", "python:rosw:", "source", "there is no module `rosw`", "rosw.py"),
    "missing labels": (D, 'labels = ["a", "b"]\n', "", "[task.label]", "needs `labels`", "add `labels = …`"),
    "missing text": (G, 'text = "text"\n', "", "[task.prose]", "kind perplexity needs `text`", "add `text = …`"),
    "missing task": (G, 'task = "arc_easy"\n', "", "[task.registered]", "kind lm_eval needs `task`", "add `task = …`"),
    "missing answer": (G, 'answer = "answer"\n', "", "[task.choice]", "needs `answer`", "add `answer = …`"),
    "missing validation data": (D, " }", ', validation = "x.jsonl" }', "data = ", "there is no file `x.jsonl`", "paths start at"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_names_its_place_and_the_remedy(project: Project, case: Broken) -> None:
    project.assert_broken(case)


@pytest.mark.parametrize("case", ELSEWHERE.values(), ids=ELSEWHERE.keys())
def test_a_problem_points_at_the_line_that_begins_with(
    project: Project, case: tuple[str, str, str, str, str, str]
) -> None:
    file, old, new, begins, message, help = case
    project.replace(file, old, new)
    problem = next(problem for problem in project.problems() if message in problem.message)
    assert problem.file == project.root / file
    assert problem.source_line is not None
    assert problem.source_line.startswith(begins)
    assert help
    assert help in (problem.help or "")


SYNTAX = {
    "no quotes": ("a = 1\nb = text\n", 2, 5, "not a TOML value", "needs quotes"),
    "no equals sign": ("a\n", 1, 2, "a key needs `=`", ""),
    "key twice": ("a = 1\nb = 2\na = 3\n", 3, 1, "given twice", ""),
    "table twice": ("[a]\n[b]\n[a]\n", 3, 1, "given twice", ""),
    "open text": ('a = "x\n', 1, 7, "not closed on this line", ""),
    "open list": ("a = [1,\n", 1, 8, "not", ""),
    "two on a line": ("a = 1 b = 2\n", 1, 1, "more on this line", ""),
    "header": ("[a\nb = 1\n", 1, 3, "header is not closed", ""),
}


@pytest.mark.parametrize("case", SYNTAX.values(), ids=SYNTAX.keys())
def test_a_syntax_error_names_line_and_column(project: Project, case: tuple[str, int, int, str, str]) -> None:
    text, line, column, message, help = case
    project.write(E, text)
    (problem,) = project.problems()
    assert (problem.line, problem.column) == (line, column)
    assert message in problem.message
    assert help in (problem.help or "")


def test_a_file_that_is_not_utf8(project: Project) -> None:
    project.experiment.write_bytes(b"a = 1\nb = '\xff'\n")
    (problem,) = project.problems()
    assert (problem.message, problem.line, problem.column) == ("this is not UTF-8 text", 2, 6)


def test_a_missing_experiment_names_the_nearest(project: Project) -> None:
    project.experiment.rename(project.experiment.with_name("smal.toml"))
    (problem,) = project.problems()
    assert "there is no file" in problem.message
    assert "smal.toml" in (problem.help or "")


def test_a_python_source_that_does_not_parse_is_shown_in_its_own_file(project: Project) -> None:
    module = project.write("rows.py", "def training_rows(:\n    pass\n")
    (problem,) = project.problems()  # once, although two sources name the module
    assert (problem.file, problem.line) == (module, 1)
    assert "not valid Python" in problem.message


def test_all_problems_of_all_files_come_at_once_and_in_order(project: Project) -> None:
    project.replace(E, "version = 1", "version = 3")
    project.replace(E, "r = 16", "rnak = 16")
    project.replace(E, '["lora"]', '["nothing"]')
    project.replace(E, "google/gemma", "nowhere")
    project.replace(D, "{{ title }}", "{{ title }")
    project.replace(G, "arc_easy", 'arc_easy"\nzzz = "')
    problems = project.problems()
    assert [(problem.file.name, problem.line) for problem in problems if problem.file] == [
        ("small.toml", 1),
        ("small.toml", 5),
        ("small.toml", 17),
        ("small.toml", 31),
        ("domain.toml", 7),
        ("general.toml", 19),
    ]


def test_a_mistake_in_what_is_inherited_is_told_once(project: Project) -> None:
    project.replace(E, "learning_rate = 2e-4", 'learning_rate = "x"')
    assert len(project.problems()) == 1


def test_a_broken_extends_does_not_complain_of_what_it_would_bring(project: Project) -> None:
    project.replace(E, 'extends = "tuned.lora"\nmethod = "qlora"', 'extends = "tuned.none"')
    assert [problem.message.split(" ")[0] for problem in project.problems()] == ["`tuned.qlora.extends`"]


def test_a_circle_is_told_once(project: Project) -> None:
    project.replace(E, 'method = "lora"', 'extends = "tuned.qlora"')
    (problem,) = project.problems()
    assert "circle" in problem.message
