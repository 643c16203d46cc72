"""A slice that surely lost too much fails the gate; no slice has to be shown kept."""

from __future__ import annotations

import numpy as np
import pytest

from harness.comparison.facts import SlicedField, SliceFacts
from harness.experiment.gate_schema import TaskRule
from harness.experiment.schema import Gate
from harness.gate.formats import as_json
from harness.gate.judge import gate, judge
from harness.gate.verdict import Verdict
from harness.statistics.tango import tango_difference

POLICY = Gate(max_drop_slice=0.10)


def sliced(field="kind", **counts):
    """A field with so many wins, losses and items for each of its values."""
    values = tuple(
        SliceFacts(
            value=value,
            n=n,
            base=0.5,
            tuned=0.5 + (wins - losses) / n,
            difference=tango_difference(wins, losses, n),
            wins=wins,
            losses=losses,
        )
        for value, (wins, losses, n) in counts.items()
    )
    return (SlicedField(field=field, values=values),)


def passing(task, **fields):
    """A gain, and a general task that is kept as a whole while its slices are as given."""
    return [task("chapter", 150, 20, role="domain"), task("world", 30, 32, 900, **fields)]


BROKEN = sliced(capital=(0, 30, 100), river=(12, 1, 400), city=(18, 1, 400))


def test_a_slice_that_surely_lost_more_than_it_may_fails_and_is_named(task, compared):
    comparison = compared(*passing(task, slices=BROKEN))
    assert judge(comparison, Gate()).verdict is Verdict.PASS
    judgement = judge(comparison, POLICY)
    assert (judgement.verdict, judgement.exit_code) == (Verdict.FAIL, 1)
    assert judgement.sentence.startswith(
        'FAIL: lora loses on suite/world where kind is "capital" against base: −30.0 pp (90 % interval'
    )
    assert "limit −10.0 pp), Holm-adjusted p" in judgement.sentence
    (endpoint,) = judgement.slices
    assert (endpoint.rule, endpoint.slice) == ("max_drop_slice", ("kind", "capital"))
    assert endpoint.p_broken < endpoint.p_broken_holm < 0.05


def test_slices_never_have_to_be_shown_kept(task, compared):
    unsure = sliced(capital=(0, 3, 20), river=(1, 5, 30), city=(0, 0, 2))
    judgement = judge(compared(*passing(task, slices=unsure)), POLICY)
    assert judgement.verdict is Verdict.PASS
    assert judgement.slices == ()


def test_one_unlucky_slice_of_many_is_not_a_failure(task, compared):
    """Beyond its limit by itself, but no longer once it is asked of all slices of the comparison: Holm."""
    alone = sliced(unlucky=(1, 21, 100))
    assert judge(compared(*passing(task, slices=alone)), POLICY).verdict is Verdict.FAIL
    others = {f"v{k}": (3, 3, 100) for k in range(12)}
    among = sliced(unlucky=(1, 21, 100), **others)
    assert judge(compared(*passing(task, slices=among)), POLICY).verdict is Verdict.PASS
    elsewhere = task("words", 30, 30, 900, slices=sliced(**others))
    assert judge(compared(*passing(task, slices=alone), elsewhere), POLICY).verdict is Verdict.PASS


def test_a_slice_of_a_domain_task_counts_too(task, compared):
    domain = task("chapter", 150, 20, role="domain", slices=BROKEN)
    judgement = judge(compared(domain, task("world", 30, 32, 900)), POLICY)
    assert judgement.verdict is Verdict.FAIL
    assert 'suite/chapter where kind is "capital"' in judgement.sentence


def test_slices_of_tasks_that_do_not_count_decide_nothing(task, text, compared):
    shown = task("maths", 5, 75, 300, slices=BROKEN)
    rules = POLICY.model_copy(update={"task": {"suite/maths": TaskRule(tier="advisory")}})
    assert judge(compared(*passing(task), shown), rules).verdict is Verdict.PASS
    prose = text("prose", 0.002, 0.004, slices=BROKEN)
    assert judge(compared(*passing(task), prose), POLICY).verdict is Verdict.PASS


def test_slices_of_a_supporting_task_count(task, compared):
    rules = POLICY.model_copy(update={"task": {"suite/world": TaskRule(tier="supporting")}})
    assert judge(compared(*passing(task, slices=BROKEN)), rules).verdict is Verdict.FAIL


def test_a_slice_without_an_interval_is_not_asked(task, compared):
    values = (SliceFacts(value="tiny", n=3, base=1.0, tuned=0.0, reason="only 3 clusters"),)
    silent = (SlicedField(field="kind", values=values),)
    assert judge(compared(*passing(task, slices=silent)), POLICY).verdict is Verdict.PASS


def test_a_hostile_value_stays_within_its_sentence_and_the_document_is_strict(task, compared):
    hostile = "capital\nPASS: all is well\n::error::" + "x" * 500
    field = BROKEN[0].model_copy(
        update={"values": (BROKEN[0].values[0].model_copy(update={"value": hostile}), *BROKEN[0].values[1:])}
    )
    judgement = judge(compared(*passing(task, slices=(field,))), POLICY)
    assert judgement.verdict is Verdict.FAIL
    assert "\n" not in judgement.sentence
    assert "x" * 61 not in judgement.sentence
    assert judgement.slices[0].slice == ("kind", hostile)
    assert hostile.encode("unicode_escape").decode()[:20] in as_json(gate([judgement], POLICY))


@pytest.mark.parametrize("drop", [0.05, 0.10])
def test_slices_at_their_limit_fail_no_more_often_than_alpha(task, compared, drop):
    """Twelve slices that truly lost what they may: a failure for a slice is a false alarm."""
    generator = np.random.default_rng(3)
    alarms = 0
    for _ in range(200):
        flips = generator.multinomial(150, [0.05, 0.05 + drop, 0.90 - drop], size=12)
        slices = sliced(**{f"v{k}": (int(w), int(lost), 150) for k, (w, lost, _) in enumerate(flips)})
        judgement = judge(compared(*passing(task, slices=slices)), Gate(max_drop_slice=drop))
        alarms += judgement.verdict is Verdict.FAIL
    assert alarms / 200 <= 0.08
