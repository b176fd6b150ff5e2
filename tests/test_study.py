from dataclasses import replace
from pathlib import Path

import pytest

from pam import study
from pam.errors import StudyError
from pam.study import Cell, Claim, Recipe, Study, Variant, grid

SMALL = Study(
    question="Which?",
    dataset="phantom",
    reference=Variant("unet"),
    variants=grid(Variant("fpa"), dilation=[6, 9], depthwise=[True, False]),
    folds=2,
    seeds=3,
)
BOUND = Cell(label="a", network="unet", options={}, recipe={}, fold=0, seed=1, data_hash="d", split_hash="s")


def test_a_grid_is_every_combination_the_last_factor_fastest():
    options = [dict(row.options) for row in SMALL.variants]
    assert options == [
        {"dilation": 6, "depthwise": True},
        {"dilation": 6, "depthwise": False},
        {"dilation": 9, "depthwise": True},
        {"dilation": 9, "depthwise": False},
    ]


def test_a_factor_that_names_a_recipe_field_varies_the_recipe():
    (row,) = grid(Variant("unet"), learning_rate=[1e-3])
    assert (row.recipe, row.options) == ({"learning_rate": 1e-3}, {})


def test_cells_are_rows_by_folds_by_seeds():
    cells = SMALL.cells()
    assert len(cells) == 5 * 2 * 3
    assert len({(cell.label, cell.fold, cell.seed) for cell in cells}) == len(cells)


def test_the_first_cells_cover_every_row():
    assert {cell.label for cell in SMALL.cells()[:5]} == {row.name for row in SMALL.rows}


def test_an_unknown_fold_is_an_error_that_lists_the_folds():
    with pytest.raises(StudyError, match="no fold 2; it has: 0, 1"):
        SMALL.cells(folds=[0, 2])


def test_rows_can_be_chosen_by_words_of_their_names():
    chosen = {cell.label for cell in SMALL.cells(only=["unet", "depthwise=True dilation=6"])}
    assert chosen == {"unet", "fpa dilation=6 depthwise=True"}


def test_a_row_that_no_words_fit_is_an_error_that_lists_the_rows():
    with pytest.raises(StudyError, match="no row 'dilation=7'; it has: unet; fpa dilation=6"):
        SMALL.cells(only=["unet", "dilation=7"])


def test_rows_with_one_name_are_an_error():
    with pytest.raises(StudyError, match="appear twice"):
        replace(SMALL, variants=(Variant("unet"),))


@pytest.mark.parametrize("field", ["label", "fold"])
def test_a_cells_id_does_not_depend_on_its_label_or_folds_number(field):
    assert replace(BOUND, **{field: "b" if field == "label" else 4}).id == BOUND.id


@pytest.mark.parametrize(
    "change",
    [
        {"network": "fpa"},
        {"options": {"width": 16}},
        {"recipe": {"epochs": 3}},
        {"seed": 2},
        {"data_hash": "e"},
        {"split_hash": "t"},
    ],
)
def test_a_cells_id_depends_on_all_that_determines_its_result(change):
    assert replace(BOUND, **change).id != BOUND.id


def test_a_cells_id_is_the_same_on_every_machine_and_version_of_python():
    assert BOUND.id == "b82d993f2c260a7e"


def test_folds_and_seeds_share_their_variants_id():
    assert replace(BOUND, seed=2, split_hash="t").variant_id == BOUND.variant_id
    assert replace(BOUND, recipe={"epochs": 3}).variant_id != BOUND.variant_id


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "'epochs' is 0"),
        ({"precision": "float8"}, "'precision' is 'float8'"),
        ({"schedule": "cosine"}, "'schedule' is 'cosine'"),
    ],
)
def test_an_impossible_recipe_is_an_error_that_names_the_field(values, message):
    with pytest.raises(StudyError, match=message):
        Recipe(**values)


def test_an_unknown_study_is_an_error_that_lists_the_studies():
    with pytest.raises(StudyError, match=r"unknown study 'nope'; there are: .*fpa_dilation"):
        study.load("nope")


def test_a_study_is_found_by_path_then_in_the_folder_then_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    installed = study.load("fpa_dilation")
    text = (
        "from pam.study import Study, Variant\n"
        "STUDY = Study(question='{}', dataset='phantom', reference=Variant('unet'), variants=())\n"
    )
    (tmp_path / "tune_spaces").mkdir()
    (tmp_path / "tune_spaces" / "fpa_dilation.py").write_text(text.format("local"))
    (tmp_path / "mine.py").write_text(text.format("by path"))
    monkeypatch.chdir(tmp_path)
    assert study.load("fpa_dilation").question == "local"
    assert study.load("mine.py").question == "by path"
    assert study.load("mine.py").name == "mine"
    monkeypatch.chdir("/")
    assert study.load("fpa_dilation") == installed


def test_a_file_without_a_study_is_an_error(tmp_path: Path):
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(StudyError, match=r"empty\.py: found no STUDY"):
        study.load(str(tmp_path / "empty.py"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = (", r"bad\.py:1: '\(' was never closed"),
        ("\nimport nope", r"bad\.py:2: ModuleNotFoundError: No module named 'nope'"),
        ("STUDY = Study()", r"bad\.py:1: NameError: name 'Study' is not defined"),
        ("from pam.study import Study\nSTUDY = Study(qestion='?')", r"bad\.py:2: TypeError: .*'qestion'"),
        (
            (
                "from pam.study import *\nSTUDY = Study(\nquestion='?', dataset='lgg', folds=0,\n"
                "reference=Variant('unet'), variants=())"
            ),
            r"bad\.py:2: the study: 0 folds and 3 seeds; needs",
        ),
    ],
)
def test_a_slip_in_a_study_file_is_an_error_that_names_its_line(text: str, message: str, tmp_path: Path):
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(StudyError, match=message):
        study.load(str(tmp_path / "bad.py"))


def test_a_study_file_that_is_not_there_is_an_error():
    message = r"missing\.py: no such file in .+ \(a job .+\); expected a study's file, or one of: .*fpa_dilation"
    with pytest.raises(StudyError, match=message):
        study.load("missing.py")


def test_a_tenth_of_the_cells_but_no_fewer_than_five_may_fail_unless_the_study_says_how_many() -> None:
    quiet = Study(question="?", dataset="lgg", reference=Variant("unet"), variants=())
    assert [quiet.failures_allowed(cells) for cells in (1, 50, 150)] == [5, 5, 15]
    assert replace(quiet, max_failures=0).failures_allowed(150) == 0


def test_a_claim_about_a_score_that_does_not_exist_is_an_error() -> None:
    claim = Claim(id="C1", text="wider is better", row="unet", over=("fpa",), score="hd95_px")
    with pytest.raises(StudyError, match="claim 'C1' is about 'hd95_px'; expected one of: iou, dice, hd95, fn_rate"):
        Study(question="?", dataset="lgg", reference=Variant("unet"), variants=(Variant("fpa"),), claims=(claim,))


def test_a_claim_about_a_row_that_the_study_lacks_is_an_error() -> None:
    claim = Claim(id="C1", text="wider is better", row="unet width=64", over=("unet",))
    with pytest.raises(
        StudyError, match=r"claim 'C1' names no row of the study: \['unet width=64'\]; expected its rows: unet"
    ):
        Study(question="?", dataset="lgg", reference=Variant("unet"), variants=(), claims=(claim,))
