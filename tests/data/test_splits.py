import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam.data.folds import Split, check_folds, from_json, k_fold, to_json
from pam.data.prepare import prepare
from pam.data.splits import by_ratio, fixed, from_nnunet, inner, stratified_k_fold
from pam.datasets import DATASETS
from pam.errors import DataError

sizes_and_k = st.dictionaries(st.text(min_size=1, max_size=6), st.integers(0, 9), min_size=2, max_size=50).flatmap(
    lambda sizes: st.tuples(st.just(sizes), st.integers(2, len(sizes)))
)


@given(sizes_and_k)
def test_stratified_folds_test_each_patient_once(given: tuple[dict[str, int], int]):
    sizes, k = given
    splits = stratified_k_fold(sizes, k)
    check_folds(splits, sizes)
    counts = [len(split.test) for split in splits]
    assert max(counts) - min(counts) <= 1
    assert stratified_k_fold(dict(reversed(sizes.items())), k) == splits


def spread(splits: tuple[Split, ...], sizes: dict[str, float]) -> float:
    """How far the folds' mean target sizes lie apart."""
    means = [np.mean([sizes[patient] for patient in split.test]) for split in splits]
    return float(max(means) - min(means))


def test_stratified_folds_have_closer_target_sizes_than_plain_ones():
    sizes = {f"p{number}": float(2**number) for number in range(10)} | {f"q{number}": 0.0 for number in range(20)}
    assert spread(stratified_k_fold(sizes, 5), sizes) <= spread(k_fold(sizes, 5), sizes)
    uniform = {f"p{number:02d}": float(number) for number in range(50)}
    assert spread(stratified_k_fold(uniform, 5), uniform) < 4


def test_stratified_folds_hold_one_patient_of_each_stratum():
    sizes = {f"p{number:02d}": float(number) for number in range(20)}
    for split in stratified_k_fold(sizes, 4):
        assert sorted(int(patient[1:]) // 4 for patient in split.test) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("count", "k", "expected"), [(2, 3, "2 patients for 3 folds"), (2, 1, "at least 2")])
def test_impossible_stratified_folds_are_an_error(count: int, k: int, expected: str):
    with pytest.raises(DataError, match=expected):
        stratified_k_fold({str(number): 1 for number in range(count)}, k)


@given(st.sets(st.text(min_size=1, max_size=6), min_size=4, max_size=120), st.integers(0, 99))
def test_a_split_by_ratio_has_its_shares_and_no_patient_twice(patients: set[str], seed: int):
    split = by_ratio(sorted(patients), seed=seed)
    assert sorted(split.train + split.validation + split.test) == sorted(patients)
    assert abs(len(split.test) - 0.2 * len(patients)) <= 0.5
    assert abs(len(split.validation) - 0.1 * len(patients)) <= 0.5


def test_the_papers_ratio_of_94_cases_is_66_9_19():
    split = by_ratio([f"case_{number}" for number in range(94)])
    assert (len(split.train), len(split.validation), len(split.test)) == (66, 9, 19)


@pytest.mark.parametrize("ratio", [(0.7, 0.1, 0.1), (1.2, -0.4, 0.2)])
def test_shares_that_do_not_add_up_are_an_error(ratio: tuple[float, float, float]):
    with pytest.raises(DataError, match="add up to 1"):
        by_ratio("abcdef", ratio)


@pytest.mark.parametrize("sides", [("ab", "c", "a"), ("ab", "c", "c"), ("ab", "b", "")])
def test_a_patient_on_two_of_three_sides_is_an_error(sides: tuple[str, str, str]):
    with pytest.raises(DataError, match="both sides"):
        Split(*map(tuple, sides))


def test_a_split_with_validation_survives_its_file_and_has_another_hash():
    split = by_ratio([f"p{number}" for number in range(20)])
    assert from_json(to_json([split])) == (split,)
    assert split.hash != Split(train=split.train, test=split.test).hash


def test_an_inner_split_never_holds_a_tested_patient():
    for outer in k_fold([f"p{number}" for number in range(30)], 5):
        within = inner(outer, 0.25)
        assert sorted(within.train + within.test) == list(outer.train)
        assert len(within.test) == 6


def test_an_inner_split_keeps_to_named_validation_patients():
    assert inner(Split(("a", "b"), ("c",), ("d",))) == Split(("a", "b"), ("d",))


def test_an_inner_share_is_between_0_and_1():
    with pytest.raises(DataError, match="between 0 and 1"):
        inner(Split(("a", "b"), ("c",)), 1.0)


def test_a_fixed_split_tests_val_and_holds_one_city_out():
    parts = [("aachen", "train"), ("aachen", "train"), ("bochum", "train"), ("lindau", "val"), ("ulm", "train")]
    assert fixed(parts, "ulm") == Split(("aachen", "bochum"), ("lindau",), ("ulm",))
    assert fixed(parts).test == ("lindau",) and len(fixed(parts).validation) == 1
    with pytest.raises(DataError, match="'lindau' is no training patient; there are: aachen"):
        fixed(parts, "lindau")
    with pytest.raises(DataError, match="on no side"):
        fixed([*parts, ("ulm", "")])
    with pytest.raises(DataError, match="'aachen' is on both sides"):
        fixed([*parts, ("aachen", "val")])


CASES = {"a_1": "a", "a_2": "a", "b_1": "b", "c_1": "c"}


def test_nnunets_splits_of_cases_become_splits_of_patients():
    text = json.dumps([{"train": ["a_1", "a_2", "b_1"], "val": ["c_1"]}])
    assert from_nnunet(text, CASES) == (Split(("a", "b"), ("c",)),)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([{"train": ["a_1", "b_1"], "val": ["a_2", "c_1"]}], "patient 'a' is on both sides"),
        ([{"train": ["a_1"], "val": ["x"]}], "no case 'x'"),
        ([{"train": ["a_1"]}], "not nnU-Net's"),
        ({"train": []}, "not nnU-Net's"),
        ([], "no split"),
        ([{"train": [], "val": ["a_1"]}], "0 training"),
    ],
)
def test_bad_nnunet_splits_are_an_error(content: object, expected: str):
    with pytest.raises(DataError, match=expected):
        from_nnunet(json.dumps(content), CASES)


def test_a_store_keeps_its_stratified_folds_and_its_ratio(tmp_path: Path):
    store = prepare(DATASETS.build("phantom"))
    assert store.stratified_folds(5) == store.stratified_folds(5)
    check_folds(store.stratified_folds(5), store.patients)
    assert store.ratio_split() == store.ratio_split()
    assert {path.name for path in store.path.glob("*-*.json")} == {"stratified-5.json", "ratio-0.7-0.1-0.2.json"}
    with pytest.raises(DataError, match="on no side"):
        store.fixed_split()


def test_a_store_imports_nnunets_file_if_it_holds_all_patients(tmp_path: Path):
    store = prepare(DATASETS.build("phantom"))
    path = tmp_path / "splits_final.json"
    path.write_text(json.dumps([{"train": store.cases[:15], "val": store.cases[15:]}]))
    (split,) = store.nnunet_splits(path)
    assert len(split.test) == 5
    path.write_text(json.dumps([{"train": store.cases[:5], "val": store.cases[15:]}]))
    with pytest.raises(DataError, match=r"splits_final.json: a split of 10 patients does not hold the store's 20"):
        store.nnunet_splits(path)
    with pytest.raises(DataError, match="absent"):
        store.nnunet_splits(tmp_path / "absent.json")


def test_the_city_phantom_has_a_split_of_its_own():
    split = prepare(DATASETS.build("phantom_cityscapes")).fixed_split("cedorf")
    assert split == Split(("ahausen", "bestadt"), ("deburg",), ("cedorf",))
