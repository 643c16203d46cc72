"""What was run, on what, and how to read the answer."""

from __future__ import annotations

from harness.report import wording
from harness.report.document import (
    Block,
    Cell,
    Code,
    Column,
    Fold,
    Row,
    Section,
    Table,
    Text,
    two_columns,
)
from harness.report.facts import ConfigurationFacts, ReportFacts, TaskValue


def _withheld(facts: ReportFacts) -> set[str]:
    """Configurations that stand in no comparable pair: their numbers must not invite a comparison."""
    sides = [(name, bool(pair.problems)) for pair in facts.comparisons for name in (pair.base, pair.tuned)]
    comparable = {name for name, broken in sides if not broken}
    return {name for name, broken in sides if broken} - comparable


def _configuration_row(configuration: ConfigurationFacts) -> Row:
    return Row(
        (
            Cell(configuration.name, configuration.description),
            Cell(configuration.dtype),
            Cell(configuration.quantization or "none"),
            Cell(configuration.adapter_digest or wording.NONE),
            Cell(wording.known(configuration.trainable_parameters, wording.count)),
        )
    )


def _value_row(value: TaskValue) -> Row:
    interval = value.interval95
    return Row(
        (
            Cell(value.task, f"{value.suite} · {wording.titled(value.metric)}"),
            Cell(f"{value.n:,}"),
            Cell(wording.level(value.metric, value.value)),
            Cell(wording.level_span(value.metric, interval) if interval else wording.NONE),
        )
    )


def _values(facts: ReportFacts, configuration: ConfigurationFacts) -> list[Block]:
    if not configuration.values:
        return []
    if configuration.name in _withheld(facts):
        return [
            Text(f"⊘ The values of {configuration.name} are withheld: it is in no comparable pair.", "void")
        ]
    columns = (Column("Task"), Column("n", True), Column("Value", True), Column("95 % interval", True))
    rows = tuple(_value_row(value) for value in configuration.values)
    table = Table(f"Measured values: {configuration.name}", columns, rows)
    return [Fold(f"Measured values: {configuration.name}", (table,))]


def configuration_section(facts: ReportFacts) -> Section:
    """The configurations, what each measured by itself, and the resolved experiment."""
    titles = ("Configuration", "dtype", "Quantisation", "Adapter or weights")
    columns = (*(Column(title) for title in titles), Column("Trainable parameters", True))
    rows = tuple(_configuration_row(each) for each in facts.configurations)
    blocks: list[Block] = [Table("Configurations", columns, rows)] if rows else []
    for configuration in facts.configurations:
        blocks += _values(facts, configuration)
    if facts.resolved:
        summary = "The experiment with every default written out"
        blocks.append(Fold(summary, (Code(facts.resolved),)))
    return Section("configuration", "Configuration", tuple(blocks))


def provenance_section(facts: ReportFacts) -> Section:
    """Models, data and their licences, the command and the versions."""
    blocks: list[Block] = []
    if facts.provenance:
        blocks.append(two_columns("Sources, licences and terms", "What", "Where from", facts.provenance))
    if facts.command:
        blocks += [Text("The command that made this report:"), Code(facts.command)]
    if facts.versions:
        blocks.append(two_columns("Versions", "Package", "Version", facts.versions))
    return Section("provenance", "Provenance", tuple(blocks))


_WORDS = (
    ("▲ improved", "the whole 90 % interval is above zero"),
    ("● retained", "the whole 90 % interval is above the limit: a loss beyond it is ruled out"),
    ("◐ inconclusive", "the 90 % interval crosses the limit: too few items to say"),
    ("▼ regressed", "the whole 90 % interval is below the limit"),
    (
        "⊘ not comparable",
        "the two sides did not answer the same questions in the same way; no number is shown",
    ),
    ("△ better, ▽ worse", "no rule judges this row; its 90 % interval excludes zero"),
    (
        "○ not separated",
        "no rule judges this row; its 90 % interval contains zero, which is not proof of no change",
    ),
    (
        "p (below a difference)",
        "how often so much would change, in either direction, if tuning changed nothing: exact McNemar for "
        "right and wrong answers, an exact permutation where few scores changed, else the test behind the "
        "interval; the gate does not read it",
    ),
    ("▶ chosen", "the strength that the validation items chose; only the test items judge it"),
    (
        "dominated",
        "another configuration with the same base gains more and keeps more, with both intervals apart",
    ),
)


def reading_section(facts: ReportFacts) -> Section:
    """Two paragraphs and the words of the verdicts."""
    intervals = (
        "Every difference is tuned minus base on the same items, so what makes an item hard cancels out. "
        "Rates differ in percentage points (pp): from 0.40 to 0.45 is +5.0 pp. The gate reads the bounds of "
        "the 90 % interval, which makes each of its one-sided statements a test at 5 %; the 95 % interval "
        "stands beside it. Items that belong together (clusters) are counted together."
    )
    limits = (
        "A limit is not an opinion about zero: “retained” says that a loss beyond the limit is ruled out, "
        "never that nothing changed. What a task can certify is the smallest limit it would keep with 80 % "
        "power if nothing had truly changed. Arrows ↑ ↓ behind a metric say which direction is better."
    )
    words = two_columns("Words", "Word", "Meaning", _WORDS)
    return Section("reading", "How to read this", (Text(intervals), Text(limits), words))
