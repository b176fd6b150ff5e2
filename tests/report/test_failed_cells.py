"""A report tells the cells that failed or diverged from those that are to go."""

import csv
import io

from pam import failures
from pam.report import published, render, results, sheets, tables
from pam.study import Study, Variant

SMALL = Study(
    name="small",
    question="Is wider better?",
    dataset="brats2018",
    reference=Variant("unet"),
    variants=(Variant("unet", {"width": 64}, label="wide & large"),),
    folds=2,
    seeds=1,
)


def test_cells_that_failed_or_diverged_are_told_from_those_to_go(swept) -> None:
    lost = [("unet", 1, 0), ("wide & large", 0, 0), ("wide & large", 1, 0)]
    manifest = swept(SMALL, without=lost)
    ids = {(cell["label"], cell["fold"], cell["seed"]): cell["id"] for cell in manifest["cells"]}
    for where, kind in ((lost[0], failures.DIVERGED), (lost[1], failures.FAILED)):
        failures.write(failures.Failure(cell={"id": ids[where]}, kind=kind, epoch=1, message="?"))
    found = results.collect(manifest, SMALL)
    assert tables.gaps(found.table) == [
        "† unet: 1 of 2 cells missing (fold/seed 1/0 diverged).",
        "† wide & large: 2 of 2 cells missing (fold/seed 0/0 failed, 1/0).",
    ]
    text = render.FORMATS["csv"](sheets.paper(found, published.beside(found)), found.table)
    counts = [(row["cells_failed"], row["cells_diverged"]) for row in csv.DictReader(io.StringIO(text))]
    assert counts == [("0", "1"), ("1", "0")]
