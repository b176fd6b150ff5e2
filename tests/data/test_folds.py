import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam.data.folds import Split, check_folds, from_json, k_fold, to_json
from pam.errors import DataError

patients_and_k = st.sets(st.text(min_size=1, max_size=8), min_size=2, max_size=60).flatmap(
    lambda patients: st.tuples(st.just(sorted(patients)), st.integers(2, len(patients)))
)


@given(patients_and_k)
def test_each_patient_is_tested_once_and_never_on_both_sides(given: tuple[list[str], int]):
    patients, k = given
    splits = k_fold(patients, k)
    assert sorted(patient for split in splits for patient in split.test) == patients
    for split in splits:
        assert not set(split.train) & set(split.test)
        assert sorted(split.train + split.test) == patients
    check_folds(splits, patients)


@given(patients_and_k)
def test_test_sides_differ_by_one_patient_at_most(given: tuple[list[str], int]):
    sizes = {len(split.test) for split in k_fold(*given)}
    assert max(sizes) - min(sizes) <= 1


@given(patients_and_k, st.randoms(use_true_random=False))
def test_the_order_and_repetition_of_patients_do_not_matter(given: tuple[list[str], int], shuffler: random.Random):
    patients, k = given
    others = patients * 2
    shuffler.shuffle(others)
    assert k_fold(others, k) == k_fold(patients, k)


@given(patients_and_k)
def test_splits_survive_their_file(given: tuple[list[str], int]):
    splits = k_fold(*given)
    assert from_json(to_json(splits)) == splits


def test_folds_are_the_same_on_every_machine_and_version():
    assert [split.test for split in k_fold("abcdef", 3)] == [("e", "f"), ("c", "d"), ("a", "b")]


def test_another_seed_gives_other_folds():
    patients = [f"p{number}" for number in range(30)]
    assert k_fold(patients, 5, seed=0) != k_fold(patients, 5, seed=1)


def test_folds_are_not_the_sorted_patients_in_blocks_or_stripes():
    patients = [f"p{number:02d}" for number in range(30)]
    tests = [split.test for split in k_fold(patients, 5)]
    assert tests[0] not in (tuple(patients[:6]), tuple(patients[::5]))


def test_a_patient_on_both_sides_is_an_error():
    with pytest.raises(DataError, match="'b' is on both sides"):
        Split(train=("a", "b"), test=("b",))


def test_a_side_without_patients_is_an_error():
    with pytest.raises(DataError, match="0 training"):
        Split(train=(), test=("a",))


def test_a_patient_named_twice_is_an_error():
    with pytest.raises(DataError, match="twice"):
        Split(train=("a", "a"), test=("b",))


def test_fewer_patients_than_folds_is_an_error():
    with pytest.raises(DataError, match="2 patients for 3 folds"):
        k_fold(["a", "b", "b"], 3)


def test_one_fold_is_an_error():
    with pytest.raises(DataError, match="expected at least 2"):
        k_fold("ab", 1)


def test_a_splits_hash_depends_on_its_sides_alone():
    assert Split(("a", "b"), ("c",)).hash == Split(("b", "a"), ("c",)).hash
    assert Split(("a", "b"), ("c",)).hash != Split(("a", "c"), ("b",)).hash
    assert Split(("a", "b"), ("c",)).hash != Split(("a",), ("b", "c")).hash


def test_a_file_changed_by_hand_is_an_error():
    text = to_json(k_fold("abcd", 2)).replace('"a"', '"e"')
    with pytest.raises(DataError, match="changed by hand"):
        from_json(text)


def test_splits_of_other_patients_are_an_error():
    with pytest.raises(DataError, match="does not hold the store's"):
        check_folds(k_fold("abcd", 2), "abcde")


def test_splits_that_test_a_patient_twice_are_an_error():
    with pytest.raises(DataError, match="'b' is tested by two splits"):
        check_folds([Split(("a",), ("b",)), Split(("a",), ("b",))], "ab")
