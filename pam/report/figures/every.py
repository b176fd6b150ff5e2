"""All figures of a study, and which of them show parts of patients' images."""

from __future__ import annotations

from collections.abc import Mapping

from pam.report import claims
from pam.report.evidence import Evidence
from pam.report.figures import attention, curves, forest, mistakes, overlays, panels, ranks
from pam.report.results import Results

Images = Mapping[str, bytes]  # by format
OF_PATIENTS = ("attention", "overlays", "mistakes")  # names of the figures that show parts of images


def draw(found: Results, evidence: Evidence) -> dict[str, Images]:
    """Figures by name, in the order in which a report shows them; those that nothing is there for are left out."""
    differences = claims.against_reference(found.study, found.scores["patient"])
    validation = [name for name in curves.told(found) if name.startswith("val")]
    figures = {
        "figure7": panels.draw(found.study, found.table),
        "differences": forest.draw(differences, found.table, found.study.reference.name),
        "ranks": ranks.draw(found),
        "attention": attention.draw(evidence, found),
        "overlays": overlays.draw(evidence, found),
        "mistakes": mistakes.draw(evidence, found),
        "loss": curves.draw(found),
        **{name: curves.draw(found, name) for name in validation},
    }
    return {name: images for name, images in figures.items() if images}
