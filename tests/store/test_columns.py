from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness import Gate, Measurement, Pair, UsageError, Verdict, columns, compare, judge

RIGHT = {"base": [0.0] * 60 + [1.0] * 40, "tuned": [1.0] * 80 + [0.0] * 20}


def pair(**roles: str) -> Pair:
    return Pair(base="base", tuned="tuned", differs_in="weights", roles=roles)  # type: ignore[arg-type]


def both(suite: str, **options: list[str]) -> tuple[list[Measurement], list[Measurement]]:
    base, tuned = (
        [columns(side, "quiz", {"accuracy": RIGHT[side]}, suite=suite, **options)]
        for side in ("base", "tuned")
    )
    return base, tuned


def test_columns_give_a_comparison_and_a_verdict() -> None:
    comparison = compare(*both("domain"), pair(domain="domain"))

    (task,) = comparison.tasks
    assert (task.n, task.wins, task.losses) == (100, 60, 20)
    assert judge(comparison, Gate()).verdict is Verdict.PASS


def test_the_example_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)

    exec(example, {})

    assert capsys.readouterr().out.startswith(
        "INCONCLUSIVE: too few items to tell whether tuned gains enough"
    )


def test_clusters_are_the_independent_draws() -> None:
    clusters = [str(number // 10) for number in range(100)]

    (task,) = compare(*both("domain", clusters=clusters), pair(domain="domain")).tasks

    assert task.clusters == 10


def test_sides_are_joined_by_the_items_names_and_not_by_their_order() -> None:
    names = [f"q{number}" for number in range(100)]
    base = columns("base", "quiz", {"accuracy": RIGHT["base"]}, items=names)
    tuned = columns("tuned", "quiz", {"accuracy": RIGHT["tuned"][::-1]}, items=names[::-1])

    (task,) = compare([base], [tuned], pair(general="general")).tasks

    assert (task.wins, task.losses) == (60, 20)


def test_what_could_not_be_scored_is_missing_and_not_zero() -> None:
    base = columns("base", "quiz", {"accuracy": [1.0, 0.0]})
    tuned = columns("tuned", "quiz", {"accuracy": [1.0, None]})

    (task,) = compare([base], [tuned], pair(general="general")).tasks

    assert task.problems == ("tuned has no accuracy on item 1",)


@pytest.mark.parametrize(
    ("scores", "options", "said"),
    [
        ({"accuracy": [1.0], "other": [1.0, 0.0]}, {}, "must have one length: accuracy 1, other 2"),
        ({"accuracy": [1.0]}, {"clusters": ["a", "b"]}, "accuracy 1, clusters 2"),
        ({}, {}, "there are none"),
        ({"accuracy": [1.0, 0.0]}, {"items": ["a", "a"]}, "item a of base's quiz stands there twice"),
        ({"bits_per_byte": [1.0]}, {}, "bits per byte is no mean of item scores"),
    ],
)
def test_columns_that_do_not_fit_are_refused(
    scores: dict[str, list[float]], options: dict[str, list[str]], said: str
) -> None:
    with pytest.raises(UsageError) as error:
        columns("base", "quiz", scores, **options)

    assert said in str(error.value)


def test_scores_beyond_one_are_no_rates() -> None:
    measured = columns("base", "quiz", {"points": [0.0, 7.5]})

    assert measured.metrics["points"].unit == "score"
