"""What the tables of a study say: bold and marks, published numbers, ranks, and where each number comes from."""

import csv
import io
import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pam.errors import StudyError
from pam.report import comparison, publish, published, render, results, sheets
from pam.study import Study, Variant

STUDY = Study(
    name="three",
    question="Which is best?",
    dataset="brats2018",
    reference=Variant("unet"),
    variants=(Variant("fpa"), Variant("aunet"), Variant("rfna")),
    folds=5,
    seeds=2,
    published={"unet": "brats2018_table6/Unet", "fpa": "brats2018_table5/FPA"},
)
FOUND = {"unet": 8, "fpa": 16, "aunet": 16, "rfna": 11}  # of the target's 20 pixels


def masks(label: str, fold: int, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Six patients a fold; `rfna` misses patient 0 of each fold altogether."""
    generator = np.random.default_rng([len(label), fold, seed])
    scans = {}
    for number in range(6):
        target, prediction = np.zeros((2, 2, 6, 20), bool)
        target[0, 2] = True
        if label != "rfna" or number:
            prediction[0, 2, : FOUND[label] + generator.integers(-2, 3)] = True
        scans[f"patient {fold}{number}"] = (prediction, target)
    return scans


def found(swept, study: Study = STUDY, **chosen) -> results.Results:
    return results.collect(swept(study, masks=masks, **chosen), study)


@pytest.fixture(scope="module")
def files(swept, shared_home: Path) -> Mapping[str, bytes]:
    """The report of the study."""
    return publish.make(found(swept)).files


def cells(sheet, heading: str) -> dict[str, object]:
    """A column's values by row."""
    place = sheet.head.index(heading)
    return {row[0].text.split(" †")[0]: row[place] for row in sheet.body}


@pytest.mark.parametrize("protocol", ["paper", "patient", "brats"])
def test_the_best_is_bold_and_not_alone_where_another_may_be_as_good(swept, protocol: str) -> None:
    all_results = found(swept)
    beside = published.beside(all_results)
    sheet = (
        sheets.paper(all_results, beside) if protocol == "paper" else sheets.by_patient(all_results, protocol, beside)
    )
    dice = cells(sheet, "Dice (%)")
    assert {label for label, value in dice.items() if value.bold} == {"fpa", "aunet"}
    assert {label for label, value in dice.items() if "‡" in value.text} >= {"fpa", "aunet"}
    assert "‡" not in dice["unet"].text
    assert "Dice" not in " ".join(note for note in sheet.notes if "none is bold" in note)


def test_where_no_row_can_be_told_from_the_best_none_is_bold_and_a_note_says_so(swept) -> None:
    alike = results.collect(swept(STUDY, masks=lambda _, fold, seed: masks("unet", fold, seed)), STUDY)
    for sheet in (
        sheets.paper(alike, published.beside(alike)),
        sheets.by_patient(alike, "patient", published.beside(alike)),
    ):
        assert not any(value.bold for row in sheet.body for value in row)
        assert sheet.notes[0].startswith("No row can be told from the best, so none is bold: IoU (%), Dice (%), HD95 (")


def test_without_spacing_no_distance_of_a_patient_is_in_mm(swept) -> None:
    all_results = found(swept, spacing=math.nan)
    beside = published.beside(all_results)
    by_patient = {name: sheets.by_patient(all_results, name, beside) for name in ("patient", "brats")}
    patient, brats = (render.FORMATS["md"](sheet, all_results.table) for sheet in by_patient.values())
    assert "HD95 (px)" in patient and "HD95 (mm)" not in patient
    assert "no distance goes from slice to slice" in patient
    assert "| HD95" not in brats and "HD95 is left out" in brats
    assert "hd95_px_mean" in render.FORMATS["csv"](by_patient["patient"], all_results.table)
    [distance] = (sheet for sheet in comparison.statistics(all_results) if sheet.name == "statistics_hd95")
    assert "Differences to unet, HD95 (px)" in render.FORMATS["md"](distance, all_results.table)
    assert [name for name in comparison.ranking(all_results).head if "HD95" in name] == ["HD95, paper", "HD95, patient"]


def test_one_fold_tells_nothing_apart_and_nothing_is_bold(swept) -> None:
    all_results = found(swept, folds=[0])
    sheet = sheets.paper(all_results, published.beside(all_results))
    assert not any(value.bold for row in sheet.body for value in row)
    assert "‡" not in render.plain(sheet, all_results.table, ("Variant", "Dice (%)"))


def test_every_table_names_protocol_unit_n_and_what_is_undefined(swept, files) -> None:
    for name in ("paper", "patient", "brats"):
        text = files[f"tables/{name}.md"].decode()
        assert f"Protocol: {name}" in text
        assert re.search(r"Unit: the (slice|patient)", text)
        assert "Both / miss / alarm / empty" in text
        assert re.search(r"\| +n \|", text)
    sheet = sheets.by_patient(found(swept), "patient", published.Published(rows={}, notes=()))
    assert cells(sheet, "n")["rfna"].text == "30"
    assert (
        cells(sheet, comparison_head())["rfna"].text == "50 / 10 / 0 / 0"
    )  # five patients missed by each of two seeds


def comparison_head() -> str:
    return "Both / miss / alarm / empty"


def test_published_numbers_stand_beside_ours_with_what_differs(swept) -> None:
    all_results = found(swept)
    sheet = sheets.paper(all_results, published.beside(all_results))
    assert cells(sheet, "IoU (%), published")["fpa"].text == "70.10 ± 2.06"
    assert cells(sheet, "IoU (%), published")["aunet"].text == "–"
    assert cells(sheet, "Parameters (M), published")["unet"].text == "3.13"
    notes = " ".join(sheet.notes)
    assert "Tables 5 and 6" in notes
    assert "Network: fpa 3.13 M instead of 4.2 M." in notes
    assert "Protocol: 5 folds and 2 seeds instead of 5 and at least 3." in notes
    assert "Recipe" not in notes  # the default recipe is the paper's
    record = next(csv.DictReader(io.StringIO(render.comma_separated(sheet, all_results.table))))
    assert (record["published_iou_mean"], record["published_iou_std"]) == ("66.67", "1.15")


def test_other_data_and_another_recipe_are_deviations_from_what_was_published(swept) -> None:
    shorter = replace(STUDY, recipe={"epochs": 3})
    notes = published.beside(found(swept, shorter, dataset="lgg", title="LGG MRI")).notes
    assert any(note.startswith("Data: LGG MRI (lgg) instead of brats2018") for note in notes)
    assert "Recipe: epochs 3 instead of 80." in notes


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("brats2018_table9/FPA", "no published table 'brats2018_table9'"),
        ("brats2018_table5/Net", "table .* has: AUnet"),
    ],
)
def test_a_published_row_that_does_not_exist_is_an_error(swept, reference: str, message: str) -> None:
    study = replace(STUDY, published={"fpa": reference})
    with pytest.raises(StudyError, match=message):
        published.beside(found(swept, study))


def test_on_another_data_set_the_question_stands_for_the_caption(swept) -> None:
    study = replace(STUDY, dataset="lgg", caption="Abnormality in LGG.", published={})
    all_results = found(swept, study, dataset="brats2018")
    sheet = sheets.paper(all_results, published.beside(all_results))
    assert sheet.caption.startswith(f"{STUDY.question} Protocol: paper.")


def test_columns_and_caption_are_the_studys(swept) -> None:
    chosen = replace(STUDY, columns=("hd95", "parameters", "iou"), caption="Enhancing tumour.", published={})
    all_results = found(swept, chosen)
    sheet = sheets.paper(all_results, published.beside(all_results))
    assert sheet.head == ("Variant", "HD95 (px)", "Parameters (M)", "IoU (%)", "n", comparison_head())
    assert sheet.caption.startswith("Enhancing tumour. Protocol: paper.")
    assert "dice_mean" in sheet.records[0]  # the CSV leaves nothing out
    with pytest.raises(StudyError, match="no column 'auc'; there are: iou, dice, hd95"):
        replace(STUDY, columns=("auc",))


def test_a_missed_patient_changes_the_ranking_between_protocols_and_the_table_says_which_rows_swap(swept) -> None:
    sheet = comparison.ranking(found(swept))
    ours = {row[0].text: [value.text for value in row[1:]] for row in sheet.body}
    by_name = dict(zip(sheet.head[1:], ours["rfna"], strict=True))
    assert by_name["Dice, paper"] == "3"  # a slice that was missed is left out
    assert by_name["HD95, brats"] == "4"  # and costs the diagonal where patients count
    swap = next(note for note in sheet.notes if note.startswith("HD95, paper against brats"))
    assert "Kendall's τ" in swap
    assert re.search(r"unet / rfna|rfna / unet", swap)


def test_statistics_show_every_method_beside_the_others(swept) -> None:
    sheet = next(s for s in comparison.statistics(found(swept)) if s.name == "statistics_dice")
    fpa = dict(zip(sheet.head, sheet.body[0], strict=True))
    assert fpa["p (Holm)"].text == "<0.001"
    assert fpa["Wilcoxon p (Holm)"].text == "<0.001"
    low, high = (float(end) for end in fpa["95 % CI"].text.split(" to "))
    assert low < float(fpa["Δ"].text) < high
    assert float(fpa["Seed noise"].text) > 0
    for words in ("symmetric about zero", "Nadeau and Bengio", "A/A", "flat prior"):
        assert words in sheet.caption


def test_each_number_leads_to_its_cells_and_they_to_commit_data_and_run(files) -> None:
    document = json.loads(files["provenance.json"])
    number = document["tables"]["patient"]["numbers"][1]
    assert number["values"]["variant"] == "fpa"
    ids = [cell for row in number["rests_on"] for cell in document["rows"][row]]
    assert len(ids) == 10
    assert {document["cells"][cell]["git_commit"] for cell in ids} == {"e15de6a"}
    assert {document["cells"][cell]["data_hash"] for cell in ids} == {"0123456789abcdef"}
    assert "mlflow_run" in document["cells"][ids[0]]
