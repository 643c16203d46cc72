"""The shipped experiment on the real 270M model, cut to a few rows: every step of `make demo`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness.cli.main import entry

ROOT = Path(__file__).parent.parent.parent
ITEMS = 4


@pytest.mark.slow
def test_the_shipped_experiment_runs_to_its_report_on_the_real_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    command = ["run", str(ROOT / "experiments/medical.toml"), "--store", str(store), "--limit", str(ITEMS)]
    report = ROOT / "reports" / f"medical-smoke-{ITEMS}"
    try:
        assert entry(command) == 0
        assert (report / "report.html").is_file()
        assert (report / "report.md").is_file()
    finally:
        shutil.rmtree(report, ignore_errors=True)

    measured = [json.loads(path.read_text()) for path in store.glob("measurements/*/step.json")]
    assert {facts["configuration"] for facts in measured} == {"base", "base-nf4", "lora", "qlora"}
    assert len(measured) == 4 * 9
    assert {facts["items"] for facts in measured} == {ITEMS}
    assert {facts["conditions"]["engine"] for facts in measured} == {"tree"}
    proofs = [json.loads(path.read_text()) for path in store.glob("proofs/*/step.json")]
    assert len(proofs) == 2
    for proof in proofs:
        assert proof["problems"] == []
        assert proof["off_equals_base"], "on the base in NF4 too"

    capsys.readouterr()
    assert entry(command) == 0
    shutil.rmtree(report, ignore_errors=True)
    printed = capsys.readouterr().err
    assert "no step ran" in printed
    assert "smoke run, no verdict" in printed
