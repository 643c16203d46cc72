"""kill -9 at any moment: the next run goes on, scores nothing twice, and ends with the same numbers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.pipeline.conftest import Project, write_project


def scores(project: Project) -> dict[tuple[str, str], list[tuple[str, dict[str, float]]]]:
    found = {}
    for record in project.store.glob("measurements/*/step.json"):
        facts = json.loads(record.read_text(encoding="utf-8"))
        lines = (record.parent / "items.jsonl").read_text(encoding="utf-8").splitlines()
        read = [json.loads(line) for line in lines]
        found[facts["configuration"], facts["task"]] = sorted((each["item"], each["scores"]) for each in read)
    return found


def left_unfinished(project: Project) -> dict[str, int]:
    """How many items of each unfinished measurement are on the disk; a line that was cut short is none."""
    return {
        path.parent.name.removesuffix(".partial"): path.read_text(encoding="utf-8").count("\n")
        for path in project.store.glob("measurements/*.partial/items.jsonl")
    }


def start(project: Project) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "harness", "run", str(project.file)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )


def wait_for(project: Project, pattern: str, process: subprocess.Popen[bytes]) -> None:
    """For a file of that name with something in it."""
    while not any(path.stat().st_size for path in project.store.glob(pattern)):
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.01)


@pytest.mark.parametrize(
    "moment",
    [
        "adapters/*.partial/checkpoints/checkpoint-2/trainer_state.json",
        "measurements/*.partial/items.jsonl",
        "measurements/*/step.json",
    ],
)
def test_a_killed_run_goes_on_to_the_numbers_of_an_unbroken_one(
    finished: Project, tmp_path: Path, model_folder: Path, moment: str
) -> None:
    project = write_project(tmp_path / "killed", model_folder)
    process = start(project)
    wait_for(project, moment, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = left_unfinished(project)

    assert project.run() == 0

    expected, got = scores(finished), scores(project)
    assert got == expected
    for lines in got.values():
        names = [name for name, _ in lines]
        assert len(names) == len(set(names)), "no item twice"
    for name, count in left.items():
        record = json.loads((project.store / f"measurements/{name}/step.json").read_text(encoding="utf-8"))
        assert record["cost"]["items_scored"] == record["items"] - count, "nothing scored twice"
