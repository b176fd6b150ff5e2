from dataclasses import replace

import pytest

from pam.data.prepare import prepare
from pam.data.store import Store
from pam.datasets import DATASETS
from pam.errors import DataError, StudyError
from pam.study import Recipe, Study, Variant, grid
from pam.sweep.plan import apply_settings, check, plan

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


def test_autocast_is_part_of_a_cells_identity(store):
    def first(**recipe: str) -> str:
        return plan(replace(STUDY, recipe=recipe), store)[0][0].id

    assert first() == first(precision="bfloat16") != first(precision="float32")


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


def test_a_study_chooses_its_split_and_the_setting_comes_first(store):
    chosen = replace(STUDY, split="stratified")
    assert next(split for _, split in plan(chosen, store, folds=[1])) == store.stratified_folds(2)[1]
    assert {cell.split_hash for cell, _ in plan(apply_settings(chosen, {"split": "ratio"}), store)} == {
        store.ratio_split().hash
    }
    assert ids(replace(STUDY, split="folds"), store) == ids(STUDY, store)
    assert set(ids(chosen, store)).isdisjoint(ids(STUDY, store))


def test_the_data_sets_own_split_is_the_default_and_says_itself_how_many_splits_it_has():
    isles, cities = (prepare(DATASETS.build(name)) for name in ("phantom_isles", "phantom_cityscapes"))
    assert [split for _, split in plan(STUDY, isles)] == [isles.ratio_split()] * 3
    assert [split for _, split in plan(STUDY, cities)] == [cities.fixed_split()] * 3
    with pytest.raises(StudyError, match="no fold 1; it has: 0"):
        plan(STUDY, isles, folds=[1])
    assert len(plan(replace(STUDY, split="folds"), isles)) == 3 * 2


def test_a_split_that_does_not_exist_is_an_error():
    with pytest.raises(StudyError, match="'split' is 'random'"):
        check(replace(STUDY, split="random"))
    with pytest.raises(StudyError, match="study field 'split' is 5"):
        apply_settings(STUDY, {"split": 5})


@pytest.mark.parametrize(
    ("written", "recipe"),
    [
        (["horizontal_flip"], {}),
        ([("horizontal_flip", {"probability": 0.5})], {}),
        (["affine"], {"augment": ("affine",)}),
        ([["affine", {"zoom": 0.1, "degrees": 30}]], {"augment": (("affine", {"degrees": 30}),)}),
    ],
)
def test_an_augmentation_is_the_same_cell_however_it_is_written(store, written, recipe):
    (cell, _), *_ = plan(replace(STUDY, recipe={"augment": written}), store)
    assert cell.recipe.get("augment", "default") == recipe.get("augment", "default")


def test_strengths_of_an_augmentation_are_a_factor(store):
    strengths = [(("affine", {"degrees": degrees}),) for degrees in (5, 15, 45)]
    study = replace(STUDY, variants=grid(Variant("unet"), augment=[*strengths, ()]))
    assert len(set(ids(study, store))) == 5 * 2


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        ("affine", "'augment' is 'affine'; expected names"),
        (("affine", {"degrees": 30}), r"'augment' holds \{'degrees': 30\}; expected names"),
        ((("affine", {"angle": 30}),), "augmentation 'affine' has no option 'angle'; it has: degrees"),
        ((("affine", {"degrees": 500}),), "option 'degrees' of augmentation 'affine' is 500; expected 0 to 180"),
        ((("elastic", {"knots": 2.5}),), "option 'knots' of augmentation 'elastic' is 2.5; expected like 5"),
        ((("horizontal_flip", {"probability": True}),), "option 'probability' .* is True"),
    ],
)
def test_an_impossible_augmentation_is_an_error(augment, message):
    with pytest.raises(StudyError, match=message):
        check(replace(STUDY, recipe={"augment": augment}))


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"select": "best"}, "'select' is 'best' without validation"),
        ({"validate_every": 1, "select": "first"}, "'select' is 'first'; expected 'last' or 'best'"),
        ({"validate_every": -1}, "'validate_every' is -1"),
        ({"validation": 1.0}, "'validation' is 1.0; expected a share"),
        ({"slices": "some"}, "'slices' is 'some'; expected 'paper' or 'all'"),
        ({"test_slices": "some"}, "'test_slices' is 'some'; expected 'all' or 'paper'"),
    ],
)
def test_an_impossible_recipe_of_a_study_is_an_error(recipe, message):
    with pytest.raises(StudyError, match=message):
        check(replace(STUDY, recipe=recipe))


def test_a_training_side_too_small_to_hold_patients_out_is_found_before_any_cell_starts(store):
    with pytest.raises(DataError, match=r"share of 0\.96 takes 10 of 10 training patients"):
        plan(replace(STUDY, recipe={"validate_every": 1, "validation": 0.96}), store)
