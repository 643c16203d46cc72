"""Tokens and time: from the store where it knows them, else from bytes, else said to be unknown."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from harness.estimate.quantities import NOTHING, Quantity, total
from tests.conftest import write_rows
from tests.estimate.conftest import TRAIN, Project

CHOICE_TOKENS = 88  # four items of two choices: 4 · 2 · (40 + 4) bytes
SAY_TOKENS = 60  # four prompts of 40 bytes, and answers of at most five tokens
PROSE_TOKENS = 400
TRAIN_TOKENS = 200  # ten rows of 80 bytes
FROM_BYTES = "≈ tokens are estimated from bytes of text, at 4 bytes a token"
NO_RATE = "the time is unknown, because no rate is measured on this machine yet"


def number(quantity: Quantity) -> tuple[float | None, str]:
    return quantity.value, quantity.source


def test_without_a_past_tokens_come_from_bytes_and_time_is_unknown(project: Project) -> None:
    found = project.estimate()

    base, lora = found.groups()
    assert number(base.train_tokens) == (0, "stored")
    assert number(base.score_tokens) == (CHOICE_TOKENS + SAY_TOKENS + PROSE_TOKENS, "estimated")
    assert number(lora.train_tokens) == (TRAIN_TOKENS, "estimated")
    assert lora.seconds.value is None
    assert FROM_BYTES in found.notes
    assert (
        f"{NO_RATE}: measuring multiple_choice tasks, measuring qa tasks, measuring perplexity tasks, "
        "training with lora" in found.notes
    )


def test_stored_steps_cost_nothing(project: Project) -> None:
    for name in ("base", "lora"):
        for task in ("choice", "say", "prose"):
            project.past_measuring(name, task)
    project.past_training("lora")

    base, lora = project.estimate().groups()

    assert base.train_tokens == base.score_tokens == base.seconds == NOTHING
    assert lora.train_tokens == lora.score_tokens == lora.seconds == NOTHING
    assert base.memory is None
    assert lora.memory is None
    assert [step.kind for step in lora.steps if not step.stored] == ["proofs"]


def test_an_earlier_training_on_the_same_rows_gives_the_count_scaled_by_epochs(project: Project) -> None:
    project.past_training("lora")  # 10 rows and 1,000 tokens in an epoch

    assert number(project.group("lora", "tuned.lora.epochs=3").train_tokens) == (3000, "stored")
    # 4 steps of 8 rows are 3.2 epochs
    assert number(project.group("lora", "tuned.lora.max_steps=4").train_tokens) == (3200, "stored")
    assert number(project.group("lora", "tuned.lora.learning_rate=1e-5").train_tokens) == (1000, "stored")


@pytest.mark.parametrize(
    "override",
    [
        "data.train.limit=5",
        "tuned.lora.max_length=8",
        'base.model="org/other-1B"',
        'data.train.train_on="all"',
    ],
)
def test_an_earlier_training_on_other_rows_gives_no_count(project: Project, override: str) -> None:
    project.past_training("lora")

    assert project.group("lora", override).train_tokens.source == "estimated"


def test_rows_are_cut_at_max_length_and_seeds_count_each(project: Project) -> None:
    assert project.group("lora", "tuned.lora.max_length=8").train_tokens.value == 80
    group = project.group("lora", "tuned.lora.seeds=[0, 1, 2]")
    assert (group.train_tokens.value, group.seeds) == (3 * TRAIN_TOKENS, 3)


def test_replayed_rows_are_added_to_what_the_store_knows(project: Project) -> None:
    write_rows(project.root / "general.jsonl", [{"text": "g" * 200} for _ in range(50)])
    project.add(
        '[tuned.mixed]\nextends = "tuned.lora"\n[tuned.mixed.replay]\nsource = "general.jsonl"\nfraction = 0.5'
    )
    assert project.group("mixed").train_tokens.value == TRAIN_TOKENS + 10 * 50

    project.past_training("lora")
    assert number(project.group("mixed").train_tokens) == (1000 + 10 * 50, "estimated")

    project.past_training("mixed", counts={"rows": 20, "tokens": 1700})
    assert number(project.group("mixed", "tuned.mixed.epochs=2").train_tokens) == (3400, "stored")


def test_rows_tokenised_before_are_counted_not_estimated_by_their_bytes(project: Project) -> None:
    write_rows(project.root / "train.jsonl", [{"input_ids": [5, 6, 7], "labels": [5, 6, 7]}] * 4)

    assert project.group("lora").train_tokens.value == 12


def test_a_measurement_of_the_same_items_gives_the_count_for_every_configuration(project: Project) -> None:
    project.past_measuring("base", "choice")  # 500 tokens

    assert project.group("lora").score_tokens.value == 500 + SAY_TOKENS + PROSE_TOKENS
    other = project.group("lora", 'base.model="org/other-1B"')
    assert other.score_tokens.value == CHOICE_TOKENS + SAY_TOKENS + PROSE_TOKENS


def test_a_measurement_that_a_kill_cut_in_two_gives_no_count(project: Project) -> None:
    project.past_measuring("base", "choice", cost={"items_scored": 1, "tokens": 100})

    assert project.group("lora").score_tokens.value == CHOICE_TOKENS + SAY_TOKENS + PROSE_TOKENS


def test_validation_items_have_a_count_of_their_own(project: Project) -> None:
    project.past_measuring("base", "choice")

    group = project.group("lora", "tuned.lora.strengths=[0.5, 1.0]")

    validation = (CHOICE_TOKENS + SAY_TOKENS + PROSE_TOKENS) / 2
    assert group.score_tokens.value == 2 * (500 + SAY_TOKENS + PROSE_TOKENS + validation)
    assert group.train_tokens.value == TRAIN_TOKENS  # one adapter at two strengths is trained once
    assert group.strengths == 2


def test_a_prompt_stands_before_every_question(project: Project) -> None:
    project.add('[tuned.asked]\nmethod = "prompt"\n[tuned.asked.prompt]\nsystem = "eight by"\nshots = 2')

    group = project.group("asked")

    choice = 3 * CHOICE_TOKENS + 8 * 2  # two examples as long as the question; eight requests of 8 bytes more
    say = SAY_TOKENS + 2 * 40 + 4 * 2
    assert group.score_tokens.value == choice + say + PROSE_TOKENS
    assert group.train_tokens == NOTHING


def test_rows_on_the_hub_are_unknown_and_the_rest_is_a_lower_bound(project: Project) -> None:
    project.replace('"choice.jsonl"', '"hub:org/choices#test"', "suite.toml")
    project.replace('"train.jsonl"', '"hub:org/rows"')

    found = project.estimate()

    base, lora = found.groups()
    assert (base.score_tokens.value, base.score_tokens.missing) == (SAY_TOKENS + PROSE_TOKENS, 1)
    assert (lora.train_tokens.value, lora.train_tokens.source) == (None, "unknown")
    assert total([base.train_tokens, lora.train_tokens]).value is None  # not "at least 0"
    assert "in the memory, rows that are not known are taken to be as long as max_length" in found.notes
    assert "rows are unknown until they are downloaded: hub:org/choices#test, hub:org/rows" in found.notes


def test_tasks_that_lm_eval_words_are_unknown_until_they_are_measured(project: Project) -> None:
    suite = project.root / "suite.toml"
    suite.write_text('version = 1\nname = "suite"\n[task.arc]\nkind = "lm_eval"\ntask = "arc_easy"\n')

    found = project.estimate()

    assert found.groups()[0].score_tokens.value is None
    assert "the tokens of lm-eval's own tasks are unknown until they are measured: arc_easy" in found.notes


def test_rows_that_cannot_be_read_are_unknown_and_the_plan_is_still_made(project: Project) -> None:
    (project.root / "train.jsonl").write_text("no JSON\n", encoding="utf-8")

    found = project.estimate()

    assert found.groups()[1].train_tokens.value is None
    assert any("train.jsonl (not valid JSON" in note for note in found.notes)


def test_a_source_is_counted_once_and_remembered_in_the_store_alone(project: Project) -> None:
    module = "from pathlib import Path\ndef rows():\n    Path('called').open('a').write('x')\n"
    (project.root / "mine.py").write_text(
        module + "    return [{'text': 'abcd' * 4}] * 3\n", encoding="utf-8"
    )
    project.replace('"train.jsonl"', '"python:mine:rows"')
    called = project.root / "called"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.root)
        before = set(project.root.rglob("*"))

        assert project.group("lora").train_tokens.value == 12
        assert project.group("lora", "tuned.lora.epochs=2").train_tokens.value == 24
        assert called.read_text() == "x"
    counts = project.store.root / "counts"
    new = {path for path in project.root.rglob("*") if "__pycache__" not in path.parts} - before - {called}
    assert {path for path in new if not path.is_relative_to(counts)} == {project.store.root}


def test_rows_that_changed_are_counted_again(project: Project) -> None:
    project.estimate()
    write_rows(project.root / "train.jsonl", [TRAIN])

    assert project.group("lora").train_tokens.value == TRAIN_TOKENS / 10


def test_a_damaged_count_is_counted_again(project: Project) -> None:
    project.estimate()
    for file in (project.store.root / "counts").iterdir():
        file.write_text('{"rows": "many"}', encoding="utf-8")

    assert project.group("lora").train_tokens.value == TRAIN_TOKENS


def test_a_store_that_cannot_be_written_to_is_planned_from(project: Project) -> None:
    project.store.root.mkdir()
    (project.store.root / "counts").write_text("a file in the place of the folder", encoding="utf-8")

    assert project.group("lora").train_tokens.value == TRAIN_TOKENS


def test_time_is_tokens_at_the_speed_of_the_same_work_on_this_machine(project: Project) -> None:
    project.past_training("lora")  # 1,000 tokens in 10 s
    project.past_measuring("base", "choice")  # 500 tokens in 2 s

    group = project.group("lora", "tuned.lora.epochs=3")

    # The time of the answers and of the prose is unknown.
    assert group.seconds.value == pytest.approx(3000 / 100 + 500 / 250)
    assert (group.seconds.source, group.seconds.missing) == ("estimated", 2)


def test_a_speed_is_that_of_half_of_all_tokens_so_a_smoke_run_hardly_counts(project: Project) -> None:
    project.past_training("lora", "tuned.lora.seeds=[1]", tokens=100_000, seconds=1000.0)
    for seed in (2, 3, 4):
        project.past_training("lora", f"tuned.lora.seeds=[{seed}]", tokens=10, seconds=10.0)

    assert project.group("lora").seconds.value == pytest.approx(1000 / 100)


def test_work_of_the_same_manner_goes_before_other_work_of_the_method(project: Project) -> None:
    project.past_training("lora", seconds=10.0)
    assert project.group("lora", "tuned.lora.kl=0.5").seconds.value == pytest.approx(10.0)

    project.past_training("lora", "tuned.lora.kl=0.1", seconds=25.0)
    assert project.group("lora", "tuned.lora.kl=0.5").seconds.value == pytest.approx(25.0)
    assert project.group("lora", "tuned.lora.epochs=2").seconds.value == pytest.approx(20.0)


def test_the_speed_of_another_model_is_scaled_by_parameters_and_said_so(project: Project) -> None:
    other = 'base.model="org/other-4B"'
    project.past_training("lora", other, total_parameters=4_000_000_000)
    project.past_measuring("base", "choice", other)

    found = project.estimate()

    base, lora = found.groups()
    assert base.seconds.value == pytest.approx(CHOICE_TOKENS / (250 * 4))
    assert lora.seconds.value == pytest.approx(TRAIN_TOKENS / (100 * 4) + CHOICE_TOKENS / (250 * 4))
    scaled = "the time is scaled by parameters, from other models on this machine"
    assert f"{scaled}: measuring multiple_choice tasks, training with lora" in found.notes


@pytest.mark.parametrize(
    "override",
    ['base.dtype="float32"', '~tuned.lora.lora,tuned.lora.method="full"', 'base.model="org/model"'],
)
def test_other_precisions_methods_and_models_of_unknown_size_give_no_speed(
    project: Project, override: str
) -> None:
    project.past_training("lora")

    assert project.group("lora", *override.split(",")).seconds.value is None


def test_what_another_machine_measured_gives_counts_but_no_speed(project: Project) -> None:
    project.past_training("lora")
    project.machine = replace(project.machine, name="another machine")

    group = project.group("lora", "tuned.lora.epochs=2")

    assert number(group.train_tokens) == (2000, "stored")
    assert group.seconds.value is None


def test_damaged_records_are_passed_over_and_counted_in_a_note(project: Project) -> None:
    project.past_training("lora", "tuned.lora.seeds=[1]")
    project.past_training("lora", "tuned.lora.seeds=[2]", seconds=float("nan"))
    project.past_training("lora", "tuned.lora.seeds=[3]", tokens=-1)
    project.past_training("lora", "tuned.lora.seeds=[4]")
    damaged = project.configuration("lora", "tuned.lora.seeds=[4]").change
    assert damaged is not None
    (project.store.folder(damaged) / "step.json").write_text('{"tokens_per_second', encoding="utf-8")
    project.past_measuring("base", "choice", kind=None)

    found = project.estimate("tuned.lora.epochs=2")

    note = "3 records of the store are damaged or of another version, and were not used"
    assert found.notes[-1] == note
    assert number(found.groups()[1].train_tokens) == (2000, "stored")


def test_unfinished_steps_and_adapters_of_others_are_no_records(project: Project) -> None:
    project.past_training("lora", "tuned.lora.seeds=[1]")
    adapters = project.store.root / "adapters"
    partial = adapters / "0123.partial"
    partial.mkdir()
    (partial / "step.json").write_text("half", encoding="utf-8")
    (adapters / "4567").mkdir()  # somebody deleted its record
    other = adapters / "89ab"
    other.mkdir()
    (other / "step.json").write_text(json.dumps({"weights_sha256": "ab", "made_from": {}}), encoding="utf-8")

    found = project.estimate()

    assert not [note for note in found.notes if "damaged" in note]
