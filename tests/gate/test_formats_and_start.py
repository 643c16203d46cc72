from __future__ import annotations

import json
import subprocess
import sys
import time

from harness.experiment.schema import Gate
from harness.gate.formats import SCHEMA, as_json
from harness.gate.judge import gate, judge

LOAD_AND_JUDGE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "transformers", "statsmodels", "sklearn"} or name == "scipy.stats":
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked())
from harness.comparison.facts import Comparison
from harness.experiment.schema import Gate
from harness.gate.formats import as_json
from harness.gate.judge import gate, judge
policy = Gate(max_drop_task=0.03, max_drop_average=0.03)
result = gate([judge(Comparison.model_validate_json(sys.stdin.read()), policy)], policy)
sys.stdout.write(as_json(result))
sys.exit(result.exit_code)
"""

COMPARE = """
import sys
for name in ("torch", "transformers", "statsmodels", "sklearn", "scipy.stats"):
    sys.modules[name] = None
from harness.comparison.compare import compare
from harness.comparison.facts import Pair
from harness.experiment.metrics import METRICS
from harness.store.measurements import Item, Measurement
def side(name, step):
    items = tuple(
        Item(f"i{k}", f"p{k}", "q", {"accuracy": float(k % step > 0)}, gold=str(k % 5),
             predicted=str((k + (k % step == 0)) % 5), cluster=f"c{k // 4}") for k in range(200))
    metrics = {name: METRICS[name] for name in ("accuracy", "macro_f1")}
    return Measurement(name, "s", "t", "classification", "accuracy", metrics, {}, items)
pair = Pair(base="base", tuned="lora", differs_in="adapter", roles={"s": "domain"})
(task,) = compare([side("base", 2)], [side("lora", 7)], pair).tasks
print(task.metrics["accuracy"].difference.method, task.metrics["macro_f1"].difference.method)
"""


def composite(task, compared):
    return compared(
        task("domain", 120, 60, 800, role="domain"),
        task("hellaswag", 70, 90, 2000),
        task("winogrande", 60, 110, 1267),
        task("shown", 3, 3, 40, gated=False),
    )


def run(code: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], input=stdin, capture_output=True, text=True, check=False
    )


def test_stored_facts_are_judged_without_torch_statsmodels_or_scikit_learn(task, compared):
    comparison = composite(task, compared)
    done = run(LOAD_AND_JUDGE, comparison.model_dump_json())
    assert done.stderr == ""
    policy = Gate(max_drop_task=0.03, max_drop_average=0.03)
    assert json.loads(done.stdout) == json.loads(as_json(gate([judge(comparison, policy)], policy)))
    assert done.returncode == 4


def test_measurements_are_compared_without_torch_statsmodels_or_scikit_learn():
    done = run(COMPARE)
    assert done.stderr == ""
    assert done.stdout.split() == ["cluster_t", "bootstrap"]


def test_a_verdict_from_stored_facts_takes_less_than_a_second_of_processor_time(task, compared):
    facts = composite(task, compared).model_dump_json()
    probe = "import time; started = time.process_time()\n" + LOAD_AND_JUDGE.replace(
        "sys.exit(result.exit_code)", "sys.stderr.write(str(time.process_time()))"
    )
    fastest = min(float(run(probe, facts).stderr) for _ in range(2))
    assert fastest < 1.5


def test_the_json_is_versioned_strict_and_says_the_same_as_the_verdict(task, compared):
    policy = Gate(max_drop_task=0.03, max_drop_average=0.03)
    result = gate([judge(composite(task, compared), policy)], policy)

    def refuse(constant):
        raise ValueError(constant)

    document = json.loads(as_json(result), parse_constant=refuse)
    assert document["schema"] == SCHEMA == "harness.gate/1"
    assert (document["verdict"], document["exit_code"]) == ("INCONCLUSIVE", 4)
    assert document["sentence"] == result.sentence
    (judgement,) = document["judgements"]
    rules = {(rule["rule"], rule["task"]): rule for rule in judgement["rules"]}
    assert rules["max_drop_task", "winogrande"]["measurable_drop"] is True
    assert rules["max_drop_task", "winogrande"]["status"] == "inconclusive"
    assert [rule["task"] for rule in judgement["advisory"]] == ["shown"]


def test_the_json_of_an_incomparable_pair_gives_the_reasons_and_no_rule(compared):
    document = json.loads(as_json(gate([judge(compared(problems=("not live",)), Gate())], Gate())))
    assert document["exit_code"] == 4
    assert document["judgements"][0]["comparability"] == ["not live"]
    assert document["judgements"][0]["rules"] == []


def test_judging_many_tasks_is_fast(task, compared):
    comparison = compared(
        task("chapter", 150, 20, role="domain"), *(task(f"g{k}", 6, 7, 400) for k in range(40))
    )
    start = time.process_time()
    judge(comparison, Gate())
    assert time.process_time() - start < 3.0
