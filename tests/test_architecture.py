"""The house, enforced: floors, wings, heavy imports, sizes."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HARNESS = Path(__file__).parent.parent / "harness"
FILES = sorted(HARNESS.rglob("*.py"))

# From the bottom up; a file imports only from floors below its own, or from its own room.
FLOORS = [
    {"errors", "progress", "machine"},
    {"statistics"},
    {"experiment"},
    {"store"},
    {"data"},
    {"comparison", "models"},
    {"gate", "tasks"},
    {"training", "report"},
    {"scoring"},
    {"fingerprints"},
    {"configurations"},
    {"plan"},
    {"provenance", "making", "estimate"},
    {"pipeline"},
    {"cli"},
    {"__init__", "__main__"},
]
JUDGING = {"comparison", "gate", "report", "estimate"}
MAKING = {"models", "tasks", "training", "scoring", "making"}
HEAVY = {
    "torch",
    "transformers",
    "peft",
    "trl",
    "lm_eval",
    "bitsandbytes",
    "accelerate",
    "datasets",
    "evaluate",
}

# Deliberate exceptions, one line each.
INNER_IMPORTS_ALLOWED = {
    "pipeline.py": "reaches for the making wing inside the step that needs it",
    "__init__.py": "loads a public name when it is first used",
    "__main__.py": "loads the command line when it is called",
    "cli/data.py": "reads and checks the rows before the tokenizer's libraries are loaded",
    "cli/main.py": "loads a command, and the shape of its problems, when they are needed",
    "data/readers.py": "Parquet needs pyarrow only when a file is Parquet",
    "data/sources.py": "the hub needs datasets only when a source is on the hub",
    "models/quiet.py": "silences libraries before they are imported",
}
LONGER_FILES_ALLOWED: dict[str, str] = {}
LONGER_FUNCTIONS_ALLOWED: dict[str, str] = {}
MORE_PARAMETERS_ALLOWED: dict[str, str] = {}


def room(file: Path) -> str:
    return file.relative_to(HARNESS).parts[0].removesuffix(".py")


def floor(name: str) -> int:
    return next(level for level, rooms in enumerate(FLOORS) if name in rooms)


def name_of(file: Path) -> str:
    return file.relative_to(HARNESS).as_posix()


def imports(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, node


def type_only(tree: ast.Module) -> set[ast.AST]:
    """Nodes under `if TYPE_CHECKING:`, which never run."""
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            found |= {inner for statement in node.body for inner in ast.walk(statement)}
    return found


def inside_functions(tree: ast.AST) -> set[ast.AST]:
    return {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
        if inner is not node
    }


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_imports_point_down_and_never_into_the_other_wing(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    own = room(file)
    skipped = type_only(tree)
    for module, node in imports(tree):
        if not module.startswith("harness.") or node in skipped:
            continue
        other = module.split(".")[1]
        assert other == own or floor(other) < floor(own), f"{own} imports {other}, which is not below it"
        assert not (own in JUDGING and other in MAKING), f"{own} reaches into the making wing"
        assert not (own in MAKING and other in JUDGING), f"{own} reaches into the judging wing"


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_only_the_making_wing_imports_heavy_libraries(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    inner = inside_functions(tree)
    for module, node in imports(tree):
        if module.split(".")[0] in HEAVY:
            allowed = room(file) in MAKING or (room(file) == "data" and node in inner)
            assert allowed, f"{name_of(file)} imports {module}"


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_imports_of_our_own_stand_at_the_top_of_the_file(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    inner = inside_functions(tree)
    late = [module for module, node in imports(tree) if module.startswith("harness") and node in inner]
    assert not late or name_of(file) in INNER_IMPORTS_ALLOWED, f"{name_of(file)} imports {late} late"


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_files_functions_and_parameter_lists_stay_small(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count("\n") <= 300 or name_of(file) in LONGER_FILES_ALLOWED
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            where = f"{name_of(file)}:{node.name}"
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 60 or where in LONGER_FUNCTIONS_ALLOWED, where
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            counted = [argument for argument in arguments if argument.arg not in ("self", "cls")]
            assert len(counted) <= 6 or where in MORE_PARAMETERS_ALLOWED, where


def test_no_file_is_called_after_nothing() -> None:
    banned = {"utils", "common", "helpers", "manager", "misc", "base", "core", "types"}
    assert not [name_of(file) for file in FILES if file.stem in banned]


@pytest.mark.parametrize(
    "module",
    [
        "harness",
        "harness.cli.main",
        "harness.cli.data",
        "harness.cli.gate",
        "harness.cli.plan",
        "harness.cli.report",
        "harness.cli.run",
        "harness.pipeline",
    ],
)
def test_nothing_below_the_waist_loads_torch(module: str) -> None:
    code = (
        f"import sys, {module}; "
        f"heavy = {sorted(HEAVY)!r}; print([name for name in heavy if name in sys.modules])"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"


def test_the_public_names_exist_and_are_typed_like_they_load() -> None:
    import harness

    for name in harness.__all__:
        assert getattr(harness, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = harness.nonsense
