from dataclasses import replace

import pytest

from pam.data.prepare import prepare
from pam.data.store import Store
from pam.datasets import DATASETS
from pam.errors import StudyError
from pam.plan import apply_settings, check, plan
from pam.study import Recipe, Study, Variant, grid

STUDY = Study(
    question="Which?",
    dataset="phantom",
    reference=Variant("unet"),
    variants=grid(Variant("fpa"), dilation=[6, 9]),
    folds=2,
    seeds=1,
    name="which",
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAM_HOME", str(tmp_path_factory.mktemp("plan")))
        return prepare(DATASETS.build("phantom"))


def ids(study: Study, store: Store, **chosen: list[int]) -> list[str]:
    return [cell.id for cell, _ in plan(study, store, **chosen)]


def test_a_cell_is_bound_to_the_stores_content_and_its_folds_split(store):
    splits = store.folds(2)
    for cell, split in plan(STUDY, store):
        assert cell.data_hash == store.hash
        assert (cell.split_hash, split) == (splits[cell.fold].hash, splits[cell.fold])


def test_a_default_written_out_gives_the_same_cells_as_one_left_out(store):
    written = replace(STUDY, reference=Variant("unet", {"width": 32}, label="unet"), recipe={"loss": "dice"})
    assert ids(written, store) == ids(STUDY, store)


def test_a_default_of_fpa_is_left_out_of_its_cell_and_another_value_is_kept(store):
    options = {cell.label: dict(cell.options) for cell, _ in plan(STUDY, store)}
    assert options == {"unet": {}, "fpa dilation=6": {"dilation": 6}, "fpa dilation=9": {}}


def test_the_data_sets_recipe_counts_and_the_studys_own_comes_first(store):
    recipe = DATASETS.build("phantom").recipe
    (cell, _), *_ = plan(replace(STUDY, recipe={"epochs": 77}), store)
    assert Recipe(**cell.recipe) == replace(recipe, epochs=77)


def test_more_folds_seeds_or_rows_keep_the_cells_that_were_there(store):
    more_seeds = replace(STUDY, seeds=3)
    more_rows = replace(STUDY, variants=grid(Variant("fpa"), dilation=[6, 9, 12]))
    assert set(ids(STUDY, store)) < set(ids(more_seeds, store))
    assert set(ids(STUDY, store)) < set(ids(more_rows, store))
    assert set(ids(STUDY, store, folds=[1])) < set(ids(STUDY, store))


def test_every_cell_of_a_study_has_its_own_id(store):
    every = ids(replace(STUDY, seeds=3), store)
    assert len(set(every)) == len(every) == 3 * 2 * 3


def test_a_setting_reaches_every_row_and_no_rows_name(store):
    changed = apply_settings(STUDY, {"width": 16, "epochs": 5})
    assert [row.name for row in changed.rows] == [row.name for row in STUDY.rows]
    for cell, _ in plan(changed, store):
        assert cell.options["width"] == 16
        assert cell.recipe["epochs"] == 5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dilation": 3}, "study 'which' varies it itself"),
        ({"depth": 3}, "network 'unet' has no option 'depth'; it has: width"),
        ({"width": "wide"}, "option 'width' of network 'unet' is 'wide'; expected a value like 32"),
        ({"epochs": 2.5}, "recipe field 'epochs' is 2.5; expected a value like 80"),
        ({"epochs": True}, "recipe field 'epochs' is True"),
    ],
)
def test_an_impossible_setting_is_an_error(settings, message):
    with pytest.raises(StudyError, match=message):
        apply_settings(STUDY, settings)


@pytest.mark.parametrize(
    ("study", "message"),
    [
        (replace(STUDY, reference=Variant("vnet")), "unknown network 'vnet'; there are: .*unet"),
        (replace(STUDY, reference=Variant("unet", {"depth": 2})), "network 'unet' has no option 'depth'"),
        (replace(STUDY, recipe={"lr": 1.0}), "no recipe field 'lr'; there are: epochs"),
        (replace(STUDY, recipe={"loss": "hinge"}), "unknown loss 'hinge'; there are: dice"),
        (replace(STUDY, recipe={"augment": ("blur",)}), "unknown augmentation 'blur'; there are: horizontal_flip"),
    ],
)
def test_what_does_not_exist_is_an_error_that_lists_what_does(study, message):
    with pytest.raises(StudyError, match=message):
        check(study)


def test_an_option_that_no_network_can_be_built_with_is_found_before_any_cell_starts(store):
    with pytest.raises(StudyError, match="'dilation' is 0"):
        plan(replace(STUDY, variants=(Variant("fpa", {"dilation": 0}),)), store)
