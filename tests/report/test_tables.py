"""A whole table worked out by hand, and what happens when cells are missing or scores undefined."""

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pam import ledger, study
from pam.errors import ResultsError
from pam.report import publish, published, render, results, sheets, tables
from pam.study import Claim, Panel, Study, Variant, grid

SMALL = Study(
    name="small",
    question="Is wider better?",
    dataset="brats2018",
    reference=Variant("unet"),
    variants=(Variant("unet", {"width": 64}, label="wide & large"),),
    folds=2,
    seeds=1,
)


FIGURES = {"figure7", "differences", "ranks", "attention", "overlays", "mistakes", "loss"}


def mask(*pixels: int) -> np.ndarray:
    """A 1×5 slice."""
    row = np.zeros((1, 5), bool)
    row[0, list(pixels)] = True
    return row


def slices(*pairs: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    prediction, target = zip(*pairs, strict=True)
    return np.stack(prediction), np.stack(target)


# Per slice with both masks: tp fp fn tn → mean IoU, Dice, HD95, FP/N, FN/P
EXACT = (mask(0, 1), mask(0, 1))  # 2 0 0 3 → 1, 1, 0, 0, 0
HALF = (mask(0), mask(0, 1))  # 1 0 1 3 → (1/2 + 3/4) / 2 = 5/8, 2/3, 0.9 (of 0, 0, 1), 0, 1/2
APART = (mask(0), mask(3))  # 0 1 1 3 → (0 + 3/5) / 2 = 3/10, 0, 3, 1/4, 1
MISS = (mask(), mask(0, 1))
ALARM = (mask(4), mask())
EMPTY = (mask(), mask())

BY_HAND = {
    ("unet", 0): {"p": slices(EXACT, HALF, MISS), "q": slices(EMPTY)},
    ("unet", 1): {"r": slices(APART, EMPTY, ALARM)},
    ("wide & large", 0): {"p": slices(EXACT, EXACT, MISS), "q": slices(EMPTY)},
    ("wide & large", 1): {"r": slices(MISS, EMPTY, ALARM)},
}


def by_hand(label: str, fold: int, _: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return BY_HAND[label, fold]


def noisy(label: str, fold: int, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Two patients a fold, whose predictions differ from the target in about a tenth of the pixels."""
    targets = np.random.default_rng(fold).random((2, 4, 24, 24)) < 0.3
    noise = np.random.default_rng([*label.encode(), fold, seed]).random(targets.shape) < 0.1
    return {f"patient {fold}{number}": (targets[number] ^ noise[number], targets[number]) for number in range(2)}


def table_of(manifest: Mapping[str, Any], declared: Study = SMALL) -> tables.Table:
    return tables.build(manifest, declared, tables.collect(manifest))


def shown(manifest: Mapping[str, Any], declared: Study = SMALL) -> dict[str, str]:
    """The table of the protocol `paper` in each format, and as text."""
    found = results.collect(manifest, declared)
    sheet = sheets.paper(found, published.beside(found))
    texts = {kind: form(sheet, found.table) for kind, form in render.FORMATS.items()}
    return texts | {"plain": render.plain(sheet, found.table, ("Variant", "IoU (%)"))}


def records(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_whole_table_of_a_tiny_study_is_as_worked_out_by_hand(swept) -> None:
    reference, wide = table_of(swept(SMALL, masks=by_hand)).rows
    assert (reference.label, wide.label) == ("unet", "wide & large")
    # fold 0: means of EXACT and HALF; fold 1: APART alone
    cells = {
        "iou": ((1 + 5 / 8) / 2, 3 / 10),
        "dice": ((1 + 2 / 3) / 2, 0),
        "hd95_px": ((0 + 0.9) / 2, 3),
        "fp_rate": (0, 1 / 4),
        "fn_rate": (1 / 4, 1),
    }
    for key, (first, second) in cells.items():
        assert reference.scores[key].mean == pytest.approx((first + second) / 2, rel=1e-12)
        assert reference.scores[key].sd == pytest.approx(abs(first - second) / math.sqrt(2), rel=1e-12)
        assert reference.scores[key].n == 2
    assert reference.slices == {"both": 3, "miss": 1, "false_alarm": 1, "both_empty": 2}


def test_a_cell_that_is_undefined_is_left_out_of_the_mean_and_marked(swept) -> None:
    table = table_of(swept(SMALL, masks=by_hand))
    wide = table.rows[1]
    assert wide.scores["iou"] == tables.Summary(mean=1.0, sd=pytest.approx(math.nan, nan_ok=True), n=1)
    text = shown(swept(SMALL, masks=by_hand))["md"]
    assert "100.00 ± – [1]" in text
    assert "[n]: defined in n only" in text


def test_the_markdown_row_is_as_worked_out_by_hand(swept) -> None:
    text = shown(swept(SMALL, masks=by_hand))["md"]
    row = next(line for line in text.splitlines() if line.startswith("| unet"))
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        *("unet", "55.62 ± 36.24", "41.67 ± 58.93", "1.73 ± 1.80", "12.500 ± 17.678", "62.50 ± 53.03"),
        *("3.13", "1.2", "812", "2/2", "3 / 1 / 1 / 2"),
    ]


def test_one_cell_has_no_standard_deviation(swept) -> None:
    table = table_of(swept(SMALL, folds=[0], masks=by_hand))
    assert math.isnan(table.rows[0].scores["iou"].sd)
    texts = shown(swept(SMALL, folds=[0], masks=by_hand))
    assert "81.25 ± –" in texts["md"]
    assert records(texts["csv"])[0]["iou_sd"] == ""


def test_missing_cells_are_marked_in_every_format(swept) -> None:
    manifest = swept(SMALL, masks=by_hand, without=[("unet", 1, 0), ("wide & large", 0, 0), ("wide & large", 1, 0)])
    assert [(len(row.cells), row.expected) for row in table_of(manifest).rows] == [(1, 2), (0, 2)]
    texts = shown(manifest)
    for kind in ("md", "html"):
        assert "† unet: 1 of 2 cells missing (fold/seed 1/0)." in texts[kind]
    assert "| wide & large † | missing |" in " ".join(texts["md"].split())
    assert r"unet \dag{} & 81.25 $\pm$ --" in texts["tex"]
    assert [(row["cells_found"], row["cells_expected"], row["iou_mean"]) for row in records(texts["csv"])] == [
        ("1", "2", "0.8125"),
        ("0", "2", ""),
    ]


def test_the_csv_keeps_every_digit(swept) -> None:
    manifest = swept(SMALL, masks=by_hand)
    for row, record in zip(table_of(manifest).rows, records(shown(manifest)["csv"]), strict=True):
        for key, summary in row.scores.items():
            assert float(record[f"{key}_mean"]) == summary.mean
        assert record["cells"].split() == list(row.cells)


def test_every_output_names_study_data_deviations_protocol_and_unit(swept) -> None:
    changes = {"title": "LGG MRI", "dataset": "lgg", "settings": {"width": 16}, "demo": True}
    texts = shown(swept(SMALL, folds=[0], masks=by_hand, **changes))
    said = "demo; data set lgg instead of brats2018; width = 16; only fold 0 of 2"
    for text in (texts["md"], texts["tex"].replace("\\", ""), texts["html"], texts["plain"]):
        assert "small on LGG MRI" in text
        assert said in text
        assert "Protocol: paper" in text
    record = records(texts["csv"])[0]
    assert [record[key] for key in ("study", "title", "deviations", "protocol", "unit")] == [
        *("small", "LGG MRI", said, "paper", "slice"),
    ]


def test_fewer_folds_than_declared_are_a_deviation(swept) -> None:
    manifest = swept(SMALL, masks=by_hand)
    table = table_of(manifest, replace(SMALL, folds=5, seeds=3))
    assert table.deviations == ("2 folds instead of 5", "1 seed instead of 3")


def test_a_phantom_is_named_in_every_output(swept) -> None:
    texts = shown(swept(SMALL, masks=by_hand, phantom=True))
    for kind in ("md", "tex", "html", "plain"):
        assert "PHANTOM DATA" in texts[kind]
    assert records(texts["csv"])[0]["phantom"] == "true"


def test_mixed_commits_are_stated(swept) -> None:
    manifest = swept(SMALL, masks=by_hand, provenance=lambda _, fold, __: {"git_commit": f"commit{fold}"})
    line = "MIXED: the cells come from 2 git commits: commit0 (2 cells), commit1 (2 cells)."
    assert line in tables.origin(table_of(manifest))
    assert line in shown(manifest)["md"]


def test_rows_keep_the_studys_order_with_the_reference_first(swept) -> None:
    declared = study.load("fpa_dilation")
    manifest = swept(declared, folds=[0], seeds=[0])
    assert [row.label for row in table_of(manifest, declared).rows] == [row.name for row in declared.rows]


def test_the_order_in_the_ledger_and_manifest_changes_no_byte(swept) -> None:
    rows = grid(Variant("fpa"), dilation=[6, 9], expansion=[4])
    declared = replace(
        SMALL,
        variants=rows,
        folds=3,  # sums of two do not depend on their order
        claims=(Claim(id="C1", text="fpa beats unet", row=rows[0].name, over=("unet",)),),
        panels=(Panel(name="a", network="fpa", over="dilation", lines="expansion"),),
    )
    manifest = swept(declared, masks=noisy)
    rng = np.random.default_rng(0)
    first = publish.make(results.collect(manifest, declared)).files
    assert {name.partition(".")[0] for name in first if name.endswith(".svg")} == FIGURES
    for cell in manifest["cells"]:
        entry = ledger.read(cell["id"])
        evidence = {name: ledger.evidence(cell["id"], name) for name in ledger.EVIDENCE}
        ledger.remove(cell["id"])
        shuffled = {name: getattr(entry, name).sample(frac=1, random_state=rng) for name in ("slices", "cases")}
        ledger.write(replace(entry, **shuffled, **evidence))
    rng.shuffle(manifest["cells"])
    assert publish.make(results.collect(manifest, declared)).files == first


def test_no_finished_cell_says_what_to_run(swept) -> None:
    nothing = [(label, fold, 0) for label, fold in BY_HAND]
    manifest = swept(SMALL, without=nothing, settings={"width": 16})
    with pytest.raises(
        ResultsError, match=r"no finished cell of 4 .* run: python -m pam\.sweep small .*--set width=16"
    ):
        tables.collect(manifest)


def test_latex_escapes_what_would_break_it(swept) -> None:
    text = shown(swept(SMALL, masks=by_hand, title="100% of_all & #1 {x}"))["tex"]
    assert r"100\% of\_all \& \#1 \{x\}" in text
    assert r"wide \& large &" in text
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.replace(r"\&", "").count("&") for line in rows} == {10}


def test_the_command_to_run_trains_no_more_than_was_asked_for(swept) -> None:
    manifest = swept(replace(SMALL, folds=5, seeds=3), folds=[0, 2], seeds=[1], dataset="lgg")
    assert tables.sweep_command(manifest) == "python -m pam.sweep small --dataset lgg --folds 0,2 --seeds 1"


def test_folds_that_a_search_saw_are_not_missed_where_the_study_leaves_them_out(swept) -> None:
    found = replace(SMALL, folds=3, tested=(1,))
    assert table_of(swept(found, folds=[1]), found).deviations == ()
    assert table_of(swept(found, folds=[0]), found).deviations == ("only fold 0 of 3",)


def test_rows_that_were_not_asked_for_are_a_deviation(swept) -> None:
    declared = study.load("fpa_dilation")
    names = [row.name for row in declared.rows]
    manifest = swept(declared, folds=[0], seeds=[0])
    chosen = manifest | {"cells": [cell for cell in manifest["cells"] if cell["label"] in names[:4]]}
    assert table_of(chosen, declared).deviations[-1] == "only 4 of 16 rows"


def test_remarks_on_the_data_stand_by_its_hash(swept) -> None:
    manifest = swept(SMALL, masks=by_hand, remarks=["3 of 9 cases left out for their errors: a, b, c"])
    assert tables.origin(table_of(manifest))[1] == "3 of 9 cases left out for their errors: a, b, c."
    assert "cases left out" in shown(manifest)["md"]


def test_a_split_is_named_with_its_hash_and_never_by_a_path(swept) -> None:
    split = {"kind": "nnunet", "words": "imported from nnU-Net's splits_final.json (2 in all)", "hash": "abc"}
    chosen = swept(replace(SMALL, folds=2), split=split, settings={"split": "nnunet=/home/me/splits_final.json"})
    table = table_of(chosen, replace(SMALL, folds=5))  # which only a split into folds would have
    assert table.deviations == (f"split = {split['words']}",)
    assert f"Split: {split['words']}, content hash abc." in shown(chosen)["md"]
    assert all("/home/me" not in text for text in shown(chosen).values())


def test_scored_slices_that_are_not_all_are_stated(swept) -> None:
    chosen = swept(SMALL, masks=by_hand)
    assert "Slices scored one by one" not in shown(chosen)["md"]
    for cell in chosen["cells"]:
        cell["recipe"] = {"test_slices": "paper"}
    assert "Slices scored one by one: paper; those of a patient, always all." in shown(chosen)["md"]
