"""What a source is made of, as text that changes when the source does. Nothing is imported or downloaded."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from harness.errors import ConfigurationError, Problem
from harness.experiment.sources import (
    HubSource,
    PythonSource,
    check_source,
    matching_files,
    module_file,
    parse_source,
    parsed_module,
    sliced,
)


def source_fingerprint(source: str, root: Path) -> dict[str, str]:
    """The parts of a source and what each is now.

    Files: path → hash of the bytes. A Python function: the same for its module, for every module
    below the root that it imports and for the data files that these declare in a literal
    `READS = ("suites/data/x.jsonl",)`; package → version for what else they import. Hub: the revision.
    Raises ConfigurationError for a source, module or declared file that is not there.
    """
    trouble = check_source(source, root)
    if trouble:
        raise ConfigurationError([trouble])
    whole, part = sliced(source)
    return _parts(whole, root) | ({"rows": f"{part.start}:{part.stop}"} if whole != source else {})


def _parts(source: str, root: Path) -> dict[str, str]:
    parsed = parse_source(source)
    if isinstance(parsed, HubSource):
        return {f"hub:{parsed.dataset}": f"{parsed.revision}#{parsed.split}"}
    if isinstance(parsed, PythonSource):
        return {"function": parsed.function, **dict(sorted(_module_parts(parsed.module, root).items()))}
    return {_name(file, root): _digest(file) for file in matching_files(parsed.pattern, root)}


def _digest(file: Path) -> str:
    with open(file, "rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


def _name(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else file.as_posix()


def _module_parts(module: str, root: Path) -> dict[str, str]:
    parts: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        for file in _own_files(name, root):
            if _name(file, root) in parts:
                continue
            tree = _parse(file)
            parts[_name(file, root)] = _digest(file)
            parts.update(_declared_files(tree, file, root))
            package = _package(name, file)
            waiting += _imported_names(tree, package)
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and not _is_own(top, root):
            parts[f"package {top}"] = _version(top)
    return parts


def _is_own(top: str, root: Path) -> bool:
    return (root / top).is_dir() or (root / f"{top}.py").is_file()


def _own_files(module: str, root: Path) -> list[Path]:
    """The module's file and those of the packages around it, which run when it is imported."""
    names = module.split(".")
    prefixes = [".".join(names[:length]) for length in range(1, len(names) + 1)]
    return [file for prefix in prefixes if (file := module_file(prefix, root)) is not None]


def _parse(file: Path) -> ast.Module:
    try:
        return parsed_module(file.read_bytes())
    except (SyntaxError, ValueError) as error:
        line = error.lineno if isinstance(error, SyntaxError) else None
        raise ConfigurationError(
            [Problem(f"not valid Python: {error}", file, line, 1 if line else None)]
        ) from None


def _package(module: str, file: Path) -> str:
    """The package that a relative import in `file` starts from."""
    names = module.split(".")
    depth = len(file.parent.parts)
    while names and file.parent.parts[depth - len(names) :] != tuple(names):
        names.pop()
    return ".".join(names)


def _imported_names(tree: ast.Module, package: str) -> Iterator[str]:
    """Every module that the code may import, at its top or inside a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            # `from suites import sampling` imports a module, where there is one of that name.
            yield from (f"{base}.{alias.name}" if base else alias.name for alias in node.names)


def _declared_files(tree: ast.Module, file: Path, root: Path) -> dict[str, str]:
    declared: dict[str, str] = {}
    for node in tree.body:
        targets = (
            node.targets
            if isinstance(node, ast.Assign)
            else [node.target]
            if isinstance(node, ast.AnnAssign)
            else []
        )
        if not any(isinstance(target, ast.Name) and target.id == "READS" for target in targets):
            continue
        assert isinstance(node, ast.Assign | ast.AnnAssign)
        for pattern in _literal_paths(node, file):
            files = matching_files(pattern, root)
            if not files:
                message, help = f"`READS` names `{pattern}`, which is not there", f"paths start at {root}"
                raise ConfigurationError(
                    [Problem(message, file, node.lineno, node.col_offset + 1, help=help)]
                )
            declared.update({_name(found, root): _digest(found) for found in files})
    return declared


def _literal_paths(node: ast.Assign | ast.AnnAssign, file: Path) -> tuple[str, ...]:
    try:
        paths = ast.literal_eval(node.value) if node.value else ()
    except ValueError:
        paths = None
    if not isinstance(paths, tuple | list) or not all(isinstance(path, str) for path in paths):
        message = (
            "`READS` must be a literal tuple of paths, so that it can be read without running the module"
        )
        raise ConfigurationError([Problem(message, file, node.lineno, node.col_offset + 1)])
    return tuple(paths)


@lru_cache(maxsize=256)
def _version(module: str) -> str:
    """The version of the installed distribution that ships `module`."""
    try:
        return metadata.version(module)  # most are named like their module; - and _ are the same here
    except metadata.PackageNotFoundError:
        pass
    for distribution in metadata.distributions():
        if module in (distribution.read_text("top_level.txt") or "").split():
            return f"{distribution.name} {distribution.version}"
    for distribution in metadata.distributions():
        record = distribution.read_text("RECORD") or ""
        if record.startswith(f"{module}/") or f"\n{module}/" in record or f"\n{module}.py," in record:
            return f"{distribution.name} {distribution.version}"
    return "not installed"
