"""Where a model comes from, and what identifies it without loading it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from harness.errors import MissingExtra

PACKAGE_PREFIX = "package:"
Kind = Literal["package", "gguf", "folder", "hub"]

# Terms that a model's licence asks to be named wherever the model is used, by a part of its source.
TERMS = {
    "gemma": "Gemma is provided under and subject to the Gemma Terms of Use, ai.google.dev/gemma/terms",
}


@dataclass(frozen=True)
class ModelSource:
    """A model source. `location` is a folder or file, an import name, or a hub id.

    identity: what the fingerprints of all results rest on: a package's version and the digest of
    its file list, a folder's files with sizes and times, a hub id with its revision.
    """

    kind: Kind
    location: str
    revision: str | None
    identity: Mapping[str, str]
    terms: str | None

    @property
    def needs_conversion(self) -> bool:
        """A GGUF is dequantised to safetensors once; the others load as they are."""
        return self.kind in ("package", "gguf")


def model_source(model: str, revision: str | None, root: Path) -> ModelSource:
    """The source that `model` names; also of an adapter. Relative paths start at `root`."""
    kind, location = _kind(model, root)
    terms = next((text for part, text in TERMS.items() if part in model.lower()), None)
    return ModelSource(kind, location, revision, _identity(kind, location, revision), terms)


def _kind(model: str, root: Path) -> tuple[Kind, str]:
    if model.startswith(PACKAGE_PREFIX):
        return "package", model.removeprefix(PACKAGE_PREFIX)
    path = root / Path(model).expanduser()
    if model.endswith(".gguf"):
        return "gguf", str(path)
    return ("folder", str(path)) if path.is_dir() else ("hub", model)


def _identity(kind: Kind, location: str, revision: str | None) -> dict[str, str]:
    if kind == "package":
        return _package_identity(location)
    if kind == "hub":
        return {"hub": location, "revision": revision or "main"}
    path = Path(location)
    files = [path] if path.is_file() else sorted(entry for entry in path.rglob("*") if entry.is_file())
    listing = "\n".join(
        f"{entry.relative_to(path.parent)} {entry.stat().st_size} {entry.stat().st_mtime_ns}"
        for entry in files
    )
    return {kind: path.name, "files": hashlib.sha256(listing.encode()).hexdigest()[:24]}


def _package_identity(name: str) -> dict[str, str]:
    """Version, and the hash of what RECORD says of the package's files and of the parts it requires."""
    try:
        distribution = metadata.distribution(name.replace("_", "-"))
    except metadata.PackageNotFoundError:
        raise MissingExtra("demo", name) from None
    # Lines of dist-info and of compiled files depend on the installer, not on the content.
    lines = [
        line
        for line in (distribution.read_text("RECORD") or "").splitlines()
        if "sha256=" in line and ".dist-info/" not in line
    ]
    content = "\n".join(sorted(lines) + sorted(distribution.requires or ()))
    return {
        "package": f"{distribution.name}=={distribution.version}",
        "content": hashlib.sha256(content.encode()).hexdigest()[:24],
    }
