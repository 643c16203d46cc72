"""Differences on parts of a task, and how they are stored with its items."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from scipy import stats

from harness.comparison.compare import compare
from harness.comparison.slices import MOST_VALUES
from harness.experiment.metrics import METRICS
from harness.experiment.schema import Gate
from harness.gate.judge import judge
from harness.statistics.tango import tango_difference
from harness.store.measurements import Item

# Forty items of each kind: capitals lose ten answers, rivers win two and lose one, the rest is as it was.
KINDS = ("capital", "river", "city")


def kind(index):
    return {"slices": {"kind": KINDS[index // 40]}}


def scores():
    base = [1.0] * 120
    tuned = [1.0] * 120
    for index in range(10):
        tuned[index] = 0.0
    base[40] = base[41] = tuned[42] = 0.0
    return base, tuned


def sliced(measured, pair, base, tuned, per_item, **fields):
    sides = (
        measured(base, per_item=per_item, **fields),
        measured(tuned, per_item=per_item, configuration="lora", **fields),
    )
    (task,) = compare(sides[:1], sides[1:], pair).tasks
    assert task.problems == ()
    return task


def test_every_value_of_a_field_is_compared_by_itself(measured, pair):
    (field,) = sliced(measured, pair, *scores(), kind).slices

    assert field.field == "kind"
    found = {each.value: each for each in field.values}
    assert found["capital"].difference == tango_difference(0, 10, 40)
    assert found["river"].difference == tango_difference(2, 1, 40)
    assert (found["capital"].n, found["capital"].base, found["capital"].tuned) == (40, 1.0, 0.75)
    assert [(each.wins, each.losses) for each in found.values()] == [(0, 10), (0, 0), (2, 1)]
    assert (field.left_out_values, field.left_out_items) == (0, 0)


def test_p_values_are_adjusted_over_all_slices_of_the_task(measured, pair):
    def both(index):
        return {"slices": {**kind(index)["slices"], "half": "ab"[index % 2]}}

    fields = sliced(measured, pair, *scores(), both).slices

    counts = [(each.wins, each.losses) for field in fields for each in field.values]
    assert len(counts) == 5
    raw = [stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0 for wins, losses in counts]
    adjusted = [each.p_adjusted for field in fields for each in field.values]
    assert adjusted == pytest.approx(list(stats.false_discovery_control(raw)), abs=1e-12)


def test_clusters_are_respected_within_a_slice(measured, pair):
    def clustered(index):
        return {"cluster": f"c{index % 40}", **kind(index)}

    def few(index):
        return {"cluster": f"c{index // 40}{index % 5}", **kind(index)}

    (field,) = sliced(measured, pair, *scores(), lambda i: {**clustered(i), "cluster": f"c{i // 2}"}).slices
    capital = next(each for each in field.values if each.value == "capital")
    assert (capital.difference.method, capital.difference.clusters) == ("cluster_t", 20)
    (field,) = sliced(measured, pair, *scores(), few).slices
    capital = next(each for each in field.values if each.value == "capital")
    assert capital.difference is None
    assert capital.reason == "only 5 clusters; an interval needs at least 8"
    assert capital.p_adjusted is None


def test_of_many_values_the_largest_are_kept_and_the_rest_is_counted(measured, pair):
    """Sixty values: the first fifty have two items each, the last ten one."""

    def value(index):
        return {"slices": {"id": f"v{index % 60:02}" if index < 110 else "v00"}}

    (field,) = sliced(measured, pair, [1.0] * 110, [1.0] * 110, value).slices

    assert len(field.values) == MOST_VALUES
    assert {each.n for each in field.values} == {2}
    assert (field.left_out_values, field.left_out_items) == (10, 10)


def test_a_metric_that_is_no_rate_is_sliced_by_its_own_aggregate(measured, pair):
    bits = [1.0 + index % 7 / 10 for index in range(120)]
    more = [value + (0.2 if index < 40 else 0.0) + index % 3 / 100 for index, value in enumerate(bits)]
    weights = {"weights": {"bits_per_byte": 80.0}}

    task = sliced(
        measured,
        pair,
        bits,
        more,
        lambda i: {**kind(i), **weights},
        metric="bits_per_byte",
        kind="perplexity",
    )

    found = {each.value: each for each in task.slices[0].values}
    assert found["capital"].difference.method == "ratio"
    assert found["capital"].tuned - found["capital"].base == pytest.approx(0.21, abs=0.002)
    assert found["capital"].wins is None


def test_a_task_without_fields_has_no_slices(measured, pair):
    assert sliced(measured, pair, [1.0] * 20, [1.0] * 20, lambda i: {}).slices == ()


def test_slices_are_stored_with_the_item_and_older_lines_have_none():
    item = Item("i", "p", "q", {"accuracy": 1.0}, slices={"kind": "capital"})
    assert Item.from_line(item.to_line()) == item
    older = {name: value for name, value in asdict(item).items() if name != "slices"}
    assert Item.from_line(json.dumps(older)).slices == {}


def test_macro_f1_of_a_slice_is_over_the_labels_that_occur_in_it(measured, pair):
    labels = tuple("abcd")

    def labelled(tuned):
        def fields(index):
            gold = labels[index // 30]
            wrong = tuned and index % 3 == 0
            return {
                "gold": gold,
                "predicted": "a" if wrong else gold,
                "slices": {"half": "first" if index < 60 else "second"},
            }

        return fields

    metrics = {"metrics": {"macro_f1": METRICS["macro_f1"]}, "primary": "macro_f1", "labels": labels}
    base = measured([1.0] * 120, per_item=labelled(False), **metrics)
    tuned = measured([1.0] * 120, per_item=labelled(True), configuration="lora", **metrics)
    (task,) = compare([base], [tuned], pair).tasks
    ((first, second),) = (field.values for field in task.slices)
    assert first.base == second.base == 1.0
    assert first.tuned < 1.0
    assert second.tuned == pytest.approx(2 * 20 / 50)


def test_rarer_values_that_the_limit_was_not_asked_of_are_said(measured, pair):
    count = MOST_VALUES + 2
    fields = {"per_item": lambda index: {"slices": {"id": f"{index % count:03}"}}}
    roles = {"general": "general", "domain": "domain"}
    sides = []
    for name in ("base", "lora"):
        gained = [float(name == "lora" or i % 2) for i in range(300)]
        sides.append([
            measured([1.0] * (10 * count), configuration=name, **fields),
            measured(gained, configuration=name, suite="domain", task="gain"),
        ])  # fmt: skip
    facts = compare(*sides, pair.model_copy(update={"roles": roles}))
    judgement = judge(facts, Gate(max_drop_slice=0.2))
    assert "general/facts: 2 rarer id were not looked at" in judgement.reasons
