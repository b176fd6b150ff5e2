"""Every choice of split, on data sets drawn at random: one case a patient or several, with or without target."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pam.data.batches import choose_slices
from pam.data.folds import Split, check_splits
from pam.data.prepare import prepare
from pam.data.split_choice import describe, parse, splits_of
from pam.data.splits import inner
from pam.data.store import INDEX, Store
from pam.datasets import DATASETS
from pam.errors import DataError, StudyError

CHOICES = ["folds", "stratified", "ratio", "ratio=0.5:0.2:0.3", "fixed", "nnunet"]


@st.composite
def data_sets(draw: st.DrawFn) -> list[dict[str, object]]:
    """Cases with their patient, part and slices' target pixels; one patient's cases are of one part."""
    names = draw(st.sets(st.text("abcdé ", min_size=1, max_size=3), min_size=4, max_size=25))
    patients = [f"p{name}" for name in sorted(names)]
    cases = []
    for number, patient in enumerate(patients):
        part = "val" if number == 1 else draw(st.sampled_from(["train", "val"])) if number > 3 else "train"
        for scan in range(draw(st.integers(1, 3))):
            pixels = draw(st.lists(st.integers(0, 60), min_size=1, max_size=3))
            cases.append({"case": f"{patient}_{scan}", "patient": patient, "part": part, "pixels": pixels})
    return cases


def store_of(cases: list[dict[str, object]], path: Path) -> Store:
    about = {"dataset": "random", "title": "", "target": "", "phantom": True, "modalities": ["a"], "hash": "0"}
    store = Store(path, {**about, "cases": {case["case"]: case for case in cases}})
    rows = [(case["patient"], pixels, 2000) for case in cases for pixels in case["pixels"]]
    pd.DataFrame(rows, columns=["patient", "target_pixels", "brain_pixels"]).to_parquet(path / INDEX)
    return store


def nnunet_file(store: Store, path: Path) -> Path:
    """Three folds of cases whose patients stay together."""
    patients = store.patients
    splits = [
        {
            "train": [case for case in store.cases if patients.index(case.rpartition("_")[0]) % 3 != fold],
            "val": [case for case in store.cases if patients.index(case.rpartition("_")[0]) % 3 == fold],
        }
        for fold in range(3)
    ]
    path.write_text(json.dumps(splits))
    return path


@pytest.mark.parametrize("choice", CHOICES)
@given(cases=data_sets(), share=st.floats(0.01, 0.6), k=st.integers(2, 4))
@settings(max_examples=20)
def test_no_patient_is_on_two_sides_of_any_split_nor_of_the_split_within(choice, cases, share, k):
    with tempfile.TemporaryDirectory() as folder:
        store = store_of(cases, Path(folder))
        words = f"nnunet={nnunet_file(store, Path(folder) / 'splits_final.json')}" if choice == "nnunet" else choice
        splits = splits_of(store, words, k)
        check_splits(splits, store.patients)
        (Path(folder) / "other").mkdir()
        other = store_of(cases[::-1], Path(folder) / "other")
        assert splits == splits_of(store, words, k) == splits_of(other, words, k)
        for split in splits:
            assert not set(split.train) & set(split.test)
            if len(split.train) * (1 - share) <= 1:  # too few to hold one out
                continue
            within = inner(split, share)
            assert not set(within.train) & set(within.test)
            assert not (set(within.train) | set(within.test)) & set(split.test)
            assert set(within.test) == set(split.validation) or not split.validation
            sides = [split.test, within.train, within.test]
            rows = [set(choose_slices(store.columns, side, "all", torch.Generator())) for side in sides]
            assert sum(map(len, rows)) == len(set.union(*rows)) == len(store.index)


@given(cases=data_sets(), victim=st.integers(0, 24))
@settings(max_examples=20)
def test_a_patient_that_a_file_has_on_both_sides_is_an_error(cases, victim):
    with tempfile.TemporaryDirectory() as folder:
        store = store_of(cases, Path(folder))
        path = nnunet_file(store, Path(folder) / "splits_final.json")
        splits = json.loads(path.read_text())
        leaked = splits[0]["train"][victim % len(splits[0]["train"])]
        splits[0]["val"].append(leaked)
        path.write_text(json.dumps(splits))
        with pytest.raises(DataError, match=r"splits_final\.json: patient .* is on both sides of a split"):
            splits_of(store, f"nnunet={path}", 5)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAM_HOME", str(tmp_path_factory.mktemp("choice")))
        return prepare(DATASETS.build("phantom"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("random", "study field 'split' is 'random'; expected one of: folds, stratified, ratio"),
        ("", "study field 'split' is ''"),
        ("folds=5", "study field 'split' is 'folds=5'"),
        ("nnunet", "study field 'split' is 'nnunet'.*splits_final.json"),
        ("ratio=0.7", "study field 'split' is 'ratio=0.7'; expected 'ratio=0.7:0.1:0.2'"),
        ("ratio=a:b:c", "study field 'split' is 'ratio=a:b:c'"),
    ],
)
def test_a_choice_that_does_not_exist_is_an_error(text, message):
    with pytest.raises(StudyError, match=message):
        parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ratio=0.7:0.1:0.1", "add up to 1"),
        ("ratio=nan:0.5:0.5", "add up to 1"),
        ("fixed", "is on no side"),
        ("nnunet=/nowhere/splits_final.json", "/nowhere/splits_final.json: .*No such file"),
    ],
)
def test_a_choice_that_does_not_fit_the_store_is_an_error(store, text, message):
    with pytest.raises(DataError, match=message):
        splits_of(store, text, 5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("folds", "4 folds by patient"),
        ("stratified", "4 folds by patient, stratified by target size"),
        ("ratio", "at random by patient, 0.7:0.1:0.2 (1 in all)"),
    ],
)
def test_a_choice_is_described_with_its_hash(store, text, words):
    splits = splits_of(store, text, 4)
    described = describe(text, splits)
    assert (described["words"], described["hashes"]) == (words, [split.hash for split in splits])
    assert len(described["hash"]) == 16


def test_the_fixed_choice_can_name_who_is_held_out_and_is_kept():
    store = prepare(DATASETS.build("phantom_cityscapes"))
    split = Split(("ahausen", "bestadt"), ("deburg",), ("cedorf",))
    assert splits_of(store, "fixed=cedorf", 5) == (split,)
    assert describe("fixed=cedorf", [split])["words"] == "the data set's own, cedorf held out (1 in all)"
    assert len(splits_of(store, "fixed", 5)) == 1
    assert {path.name for path in store.path.glob("fixed*.json")} == {"fixed.json", f"fixed-{split.hash}.json"}


def test_an_imported_split_is_known_by_its_content_and_kept(store, tmp_path):
    first, second = tmp_path / "a" / "splits_final.json", tmp_path / "b.json"
    first.parent.mkdir()
    for path in (first, second):
        path.write_text(json.dumps([{"train": store.cases[:15], "val": store.cases[15:]}]))
    one, other = (splits_of(store, f"nnunet={path}", 5) for path in (first, second))
    assert one == other
    described = describe(f"nnunet={first}", one)
    assert described["words"] == "imported from nnU-Net's splits_final.json (1 in all)"
    assert (store.path / f"nnunet-{described['hash']}.json").exists()


def test_a_split_file_that_was_edited_is_refused(store):
    splits_of(store, "stratified", 3)
    path = store.path / "stratified-3.json"
    content = json.loads(path.read_text())
    content["splits"][0]["train"].append(content["splits"][0]["test"][0])
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"stratified-3\.json: patient .* on both sides"):
        splits_of(store, "stratified", 3)
    path.unlink()


def test_stratified_folds_have_targets_of_all_sizes(store):
    totals = store.index.groupby("patient").target_pixels.sum()
    means = [totals[list(split.test)].mean() for split in splits_of(store, "stratified", 2)]
    assert np.ptp(means) < totals.std()
