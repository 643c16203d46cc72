"""This machine: what a measured speed belongs to, and how much memory there is. Needs no torch."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

MIB = 1 << 20


@dataclass(frozen=True)
class Gpu:
    """One card. memory_bytes is None where the driver does not say."""

    name: str
    memory_bytes: int | None


@lru_cache(maxsize=1)
def machine_name() -> str:
    """CPU model and core count, and the GPUs where there are any."""
    return ", ".join([_processor(), f"{os.cpu_count()} cores", *(gpu.name for gpu in gpus())])


@lru_cache(maxsize=1)
def gpus() -> tuple[Gpu, ...]:
    """As nvidia-smi lists them; none where there is no driver."""
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(_gpu(line) for line in listed.stdout.splitlines() if line.strip())


def memory_bytes() -> int:
    """The memory of the machine itself, without its GPUs."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _gpu(line: str) -> Gpu:
    name, _, mebibytes = line.rpartition(",")
    shared = not mebibytes.strip().isdigit()  # a card that shares the machine's memory says "[N/A]"
    return Gpu(name.strip(), None if shared else int(mebibytes) * MIB)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
