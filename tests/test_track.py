"""What MLflow shows is what the ledger holds."""

import math

import numpy as np
import pytest

from pam.study import Cell
from pam.track import shown
from pam.views import View

CELL = Cell(
    label="wide",
    network="unet",
    options={"width": 4},
    recipe={"epochs": 3},
    fold=1,
    seed=2,
    data_hash="d" * 64,
    split_hash="s" * 64,
)


def test_a_configuration_writes_out_the_defaults_it_leaves_as_they_are():
    found = shown.configuration(CELL)
    assert found["options"]["width"] == 4
    assert found["recipe"]["epochs"] == 3
    assert found["recipe"]["learning_rate"] == 1e-4
    assert (found["cell"], found["fold"], found["seed"]) == (CELL.id, 1, 2)


def test_parameters_are_network_options_and_recipe_as_text():
    found = shown.parameters(CELL)
    assert (found["network"], found["width"], found["epochs"], found["loss"]) == ("unet", "4", "3", "dice")


def test_means_are_over_the_cells_in_which_a_score_is_defined():
    found = shown.aggregate([{"iou": 0.5, "hd95_px": 2.0}, {"iou": 0.7, "hd95_px": math.nan}])
    assert found == {
        "n": 2.0,
        "iou_mean": pytest.approx(0.6),
        "iou_sd": pytest.approx(math.sqrt(0.02)),
        "hd95_px_mean": 2,
    }


def test_one_cell_has_no_standard_deviation():
    assert shown.aggregate([{"iou": 0.5}]) == {"n": 1.0, "iou_mean": 0.5}


def test_an_overlay_outlines_target_and_prediction_where_they_are_seen():
    target, prediction = np.zeros((2, 20, 30), bool)
    target[4:9, 5:12] = True
    prediction[10:15, 20:27] = True
    view = View(
        case="c",
        patient="p",
        slice=3,
        turned=True,
        modality="t2",
        image=np.full((20, 30), 100, np.uint8),
        target=target,
    )
    scale = shown.scale_of(view)
    assert scale == 16
    pixels = np.asarray(shown.overlay(view, prediction, "words"))[: 20 * scale, : 30 * scale]
    for mask, colour in ((target, shown.TARGET), (prediction, shown.PREDICTION)):
        rows, columns = np.nonzero((pixels == colour).all(axis=-1))
        turned = np.rot90(mask, 2)
        inside = np.kron(turned, np.ones((scale, scale), bool))
        assert inside[rows, columns].all()
        assert (rows.min(), rows.max() + 1) == (
            np.nonzero(turned)[0].min() * scale,
            (np.nonzero(turned)[0].max() + 1) * scale,
        )
        assert len(rows) < inside.sum()  # an outline, not the whole


def test_a_study_of_phantoms_says_so():
    told = {"title": "T", "dataset": "phantom", "data_hash": "h", "settings": {"width": 4}, "folds": 2, "seeds": 1}
    text = shown.study_note({**told, "question": "Does it?", "phantom": True}, {})
    assert "PHANTOM DATA" in text.splitlines()[0]  # the line that MLflow shows of a folded description
    assert "width = 4" in text
    assert "PHANTOM" not in shown.study_note({**told, "question": "Does it?", "phantom": False}, {})
    assert "PHANTOM DATA" in shown.variant_note(1, 2, {"n": 1.0}, phantom=True)


def test_a_studys_description_shows_its_rows_side_by_side_and_says_what_it_leaves_out():
    told = {"title": "T", "dataset": "d", "data_hash": "h", "settings": {}, "folds": 2, "seeds": 1}
    found = {"n": 2.0, "iou_mean": 0.5, "iou_sd": 0.0123, "hd95_px_mean": 12.5}
    results = {f"row {number}": found for number in range(shown.ROWS + 3)}
    text = shown.study_note({**told, "question": "Does it?", "phantom": False}, results)
    assert "| row 0 | 2 | 0.5 ± 0.012 | – | 12.5 | – |\n" in text.replace("&emsp;", "")
    assert f"row {shown.ROWS}&" not in text
    assert "… and 3 more rows." in text


def test_a_variants_note_tells_mean_sd_and_how_many_cells():
    note = shown.variant_note(1, 2, {"n": 1.0, "iou_mean": 0.5}, phantom=False)
    assert "Over 1 of 2 cells" in note
    assert "| iou | 0.5 | – (one cell) |" in note
