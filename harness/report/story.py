"""The report as a whole: which sections there are and in which order they are read."""

from __future__ import annotations

from harness.report.document import Document
from harness.report.facts import ReportFacts
from harness.report.sections.answer_form import answer_form_section
from harness.report.sections.answers import flips_section, generations_section
from harness.report.sections.differences import differences_section, quantization_section
from harness.report.sections.making import cost_section, training_section
from harness.report.sections.methods import methods_section
from harness.report.sections.record import configuration_section, provenance_section, reading_section
from harness.report.sections.slices import slices_section
from harness.report.sections.strength import strength_section
from harness.report.sections.validity import validity_section
from harness.report.sections.verdict import verdict_section

_ORDER = (
    verdict_section,
    methods_section,
    strength_section,
    validity_section,
    differences_section,
    answer_form_section,
    slices_section,
    flips_section,
    generations_section,
    training_section,
    quantization_section,
    configuration_section,
    cost_section,
    provenance_section,
    reading_section,
)


def compose(facts: ReportFacts) -> Document:
    """The document that both writers write."""
    sections = (make(facts) for make in _ORDER)
    return Document(facts.name, tuple(section for section in sections if section is not None))
