"""The store: nothing half-written is ever read, nothing finished is ever lost."""

from __future__ import annotations

import errno
import json
import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import RunFailed
from harness.experiment.metrics import METRICS
from harness.store.artifacts import Store, fingerprint, step, write_json
from harness.store.measurements import (
    ITEMS_FILE,
    Divergence,
    Item,
    Measurement,
    Noise,
    append_items,
    measurement_record,
    read_measurement,
    recover_items,
    restart_items,
)

STEP = step("measurements", "lora on medical/chapter", {"a": 1})


def item(name: str, text: str = "text") -> Item:
    return Item(
        item=name, prompt_hash="h", prompt=text, scores={"accuracy": 1.0}, responses=({"text": text},)
    )


def finish(store: Store, items: list[Item], noise: Noise | None = None) -> None:
    folder = store.begin(STEP)
    append_items(folder / ITEMS_FILE, items)
    measurement = Measurement(
        configuration="lora",
        suite="medical",
        task="chapter",
        kind="classification",
        primary="accuracy",
        metrics={"accuracy": METRICS["accuracy"]},
        conditions={"dtype": "float32"},
        labels=("a", "b"),
        items=tuple(items),
        noise=noise,
    )
    store.finish(STEP, measurement_record(measurement))


def test_a_step_is_there_only_after_it_is_finished(tmp_path: Path) -> None:
    store = Store(tmp_path)
    append_items(store.begin(STEP) / ITEMS_FILE, [item("a")])
    assert not store.has(STEP)

    finish(store, [item("b")])

    assert store.has(STEP)
    assert not (tmp_path / "measurements" / f"{STEP.fingerprint}.partial").exists()


def test_a_measurement_is_read_as_it_was_written(tmp_path: Path) -> None:
    store = Store(tmp_path)
    finish(store, [item("a"), item("b#1")])

    read = read_measurement(store, STEP)

    assert [entry.item for entry in read.items] == ["a", "b#1"]
    assert read.labels == ("a", "b")
    assert read.metrics == {"accuracy": METRICS["accuracy"]}


@given(st.text())
def test_any_text_survives_as_one_line(text: str) -> None:
    line = item("a", text).to_line()

    assert "\n" not in line
    assert Item.from_line(line) == item("a", text)


def test_a_divergence_is_read_as_it_was_written_even_where_it_is_not_finite() -> None:
    measured = replace(item("a"), divergence=Divergence(nats=0.125, tokens=40))
    assert json.loads(measured.to_line())["divergence"] == {"nats": 0.125, "tokens": 40}
    assert Item.from_line(measured.to_line()) == measured
    assert json.loads(item("a").to_line())["divergence"] is None

    broken = Item.from_line(replace(item("a"), divergence=Divergence(math.nan, 40)).to_line()).divergence
    assert broken is not None
    assert math.isnan(broken.nats)


def test_a_line_from_before_there_were_divergences_has_none() -> None:
    older = json.loads(item("a").to_line())
    del older["divergence"]
    assert Item.from_line(json.dumps(older)) == item("a")


@pytest.mark.parametrize(
    "damaged",
    [
        {"nats": 1.0},
        {"nats": "much", "tokens": 3},
        {"nats": 1.0, "tokens": 0},
        {"nats": 1, "tokens": 2.5},
        0.1,
    ],
)
def test_a_damaged_divergence_is_a_damaged_line(tmp_path: Path, damaged: object) -> None:
    store = Store(tmp_path)
    finish(store, [item("a"), item("b")])
    path = store.folder(STEP) / ITEMS_FILE
    second = {**json.loads(item("b").to_line()), "divergence": damaged}
    path.write_text(f"{item('a').to_line()}\n{json.dumps(second)}\n", encoding="utf-8")

    with pytest.raises(RunFailed, match=r"items\.jsonl:2 is damaged"):
        read_measurement(store, STEP)
    assert recover_items(path) == [item("a")]


def test_noise_stands_in_the_record_and_older_records_have_none(tmp_path: Path) -> None:
    store = Store(tmp_path)
    noise = Noise(items=200, to_wrong=2, to_right=1, deviation=0.1225)
    finish(store, [item("a")], noise)
    assert read_measurement(store, STEP).noise == noise

    record = store.folder(STEP) / "step.json"
    older = json.loads(record.read_text("utf-8"))
    assert older.pop("noise") == {"items": 200, "to_wrong": 2, "to_right": 1, "deviation": 0.1225}
    write_json(record, older)
    assert read_measurement(store, STEP).noise is None


def test_noise_of_one_item_has_no_deviation_and_is_still_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    finish(store, [item("a")], Noise(items=1, to_wrong=0, to_right=0, deviation=math.nan))
    noise = read_measurement(store, STEP).noise
    assert noise is not None
    assert math.isnan(noise.deviation)


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_line_that_a_kill_cut_short_is_dropped_and_the_rest_kept(tmp_path: Path, cut: int) -> None:
    path = tmp_path / ITEMS_FILE
    append_items(path, [item("a"), item("b"), item("c")])
    content = path.read_bytes()
    path.write_bytes(content[:-cut])

    kept = recover_items(path)
    assert [entry.item for entry in kept] == ["a", "b"]
    restart_items(path, kept)
    append_items(path, [item("c")])
    assert path.read_bytes() == content


def test_a_damaged_record_names_the_file_and_the_remedy(tmp_path: Path) -> None:
    store = Store(tmp_path)
    finish(store, [item("a")])
    (store.folder(STEP) / "step.json").write_text("{", encoding="utf-8")

    with pytest.raises(RunFailed, match=r"step\.json is damaged .* Delete .* and run again"):
        read_measurement(store, STEP)


def test_a_damaged_or_missing_item_line_names_its_place(tmp_path: Path) -> None:
    store = Store(tmp_path)
    finish(store, [item("a"), item("b")])
    path = store.folder(STEP) / ITEMS_FILE
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text(f"{lines[0]}\n{lines[1][:-9]}\n", encoding="utf-8")
    with pytest.raises(RunFailed, match=r"items\.jsonl:2 is damaged"):
        read_measurement(store, STEP)

    path.write_text(f"{lines[0]}\n", encoding="utf-8")
    with pytest.raises(RunFailed, match="holds 1 items, its record says 2"):
        read_measurement(store, STEP)


def test_a_second_run_on_the_same_store_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.locked(), pytest.raises(RunFailed, match="another run is writing"), Store(tmp_path).locked():
        pass
    with store.locked():
        assert True, "the lock is free again"


def test_a_full_disk_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    write_json(path, {"verdict": "old"})

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_json(path, {"verdict": "new"})

    assert "old" in path.read_text(encoding="utf-8")
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.json"]


def test_a_fingerprint_depends_on_content_and_not_on_order() -> None:
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
