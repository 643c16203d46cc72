from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def oracles() -> dict[str, Any]:
    """Reference numbers of statistics.md, made with R, scipy, statsmodels and scikit-learn."""
    return json.loads((Path(__file__).parent / "oracles.json").read_text())
