"""What is wrong with the source of a model or an adapter, as far as the disk tells without loading it."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

from harness.errors import Problem

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
_PICKLED_ADAPTER = "adapter_model.bin"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_id(source: str, root: Path) -> bool:
    """Whether `source` is on the hub, so that it can have a revision."""
    return bool(_HUB_ID.fullmatch(source)) and not source.endswith(".gguf") and not (root / source).exists()


def model_problem(model: str, root: Path) -> Problem | None:
    """What is wrong with a model's source, as far as can be seen without loading or downloading."""
    if model.startswith("package:"):
        return _package_problem(model.removeprefix("package:"))
    path = root / Path(model).expanduser()
    if path.is_dir() or (path.is_file() and path.suffix == ".gguf"):
        return None
    if path.is_file():
        return Problem(f"`{model}` is not a .gguf file", help="name a folder, a .gguf file or a hub id")
    if model.endswith(".gguf") or _is_path(model):
        return Problem(f"there is no model at `{model}`", help=f"paths start at {root}")
    if not _HUB_ID.fullmatch(model):
        message = f"`{model}` is neither a folder nor a hub id"
        return Problem(message, help="write org/name, a folder, a .gguf file or package:name")
    return None


def adapter_problem(adapter: str, root: Path) -> Problem | None:
    """What is wrong with an adapter: a folder must hold its configuration and its safetensors."""
    path = root / Path(adapter).expanduser()
    if path.is_dir():
        return _adapter_folder_problem(adapter, path, adapter_config(adapter, root))
    if path.exists():
        return Problem(f"`{adapter}` is a file", help="name the folder that the adapter was saved to")
    if _is_path(adapter):
        return Problem(f"there is no adapter at `{adapter}`", help=f"paths start at {root}")
    if not _HUB_ID.fullmatch(adapter):
        return Problem(f"`{adapter}` is neither a folder nor a hub id", help="write a folder or org/name")
    return None


def adapter_config(adapter: str, root: Path) -> dict[str, Any]:
    """What an adapter's folder says of itself; nothing for one of the hub or one that is broken."""
    try:
        said = json.loads((root / Path(adapter).expanduser() / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _adapter_folder_problem(adapter: str, folder: Path, config: dict[str, Any]) -> Problem | None:
    if not (folder / ADAPTER_CONFIG).is_file():
        message = f"`{adapter}` is no adapter: it has no {ADAPTER_CONFIG}"
        return Problem(message, help="name the folder that `save_pretrained` of PEFT wrote")
    if not (folder / ADAPTER_WEIGHTS).is_file():
        message = f"`{adapter}` has no {ADAPTER_WEIGHTS}"
        if (folder / _PICKLED_ADAPTER).is_file():
            message += f"; {_PICKLED_ADAPTER} is a pickle, which can run any code when it is loaded"
        return Problem(message, help="save it with `save_pretrained(…, safe_serialization=True)`")
    if not config:
        return Problem(f"the {ADAPTER_CONFIG} of `{adapter}` is not a JSON table", help="save it again")
    return None


def _is_path(source: str) -> bool:
    return source.startswith((".", "/", "~")) or source.count("/") > 1


def _package_problem(name: str) -> Problem | None:
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        return Problem(f"`package:{name}` does not name a package", help="write package:<import name>")
    # find_spec of a top-level name looks for the package without importing it.
    if importlib.util.find_spec(name) is None:
        distribution = name.replace("_", "-")
        return Problem(
            f"the package `{name}` is not installed", help=f"install it with: pip install {distribution}"
        )
    return None
