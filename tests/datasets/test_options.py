from pathlib import Path
from typing import Annotated, Literal

import pytest

from pam.data import store as stores
from pam.data.prepare import prepare
from pam.datasets import DATASETS, phantom
from pam.datasets.options import Datasets, split
from pam.errors import DataError, StudyError


def test_options_that_differ_from_their_defaults_are_part_of_the_name():
    for name, options, expected in (
        ("brats2018", {}, "brats2018"),
        ("brats2018", {"target": "et"}, "brats2018"),
        ("brats2018:target=et:grade=HGG", {}, "brats2018"),
        ("brats2018", {"target": "wt"}, "brats2018:target=wt"),
        ("brats2018:target=wt", {"grade": "all"}, "brats2018:grade=all:target=wt"),
        ("brats2018:target=wt:grade=all", {}, "brats2018:grade=all:target=wt"),
    ):
        dataset = DATASETS.build(name, **options)
        assert dataset.name == expected
        assert DATASETS.build(dataset.name).preparation() == dataset.preparation()


def test_a_title_tells_the_options():
    assert DATASETS.build("brats2018").title == "BRATS 2018"
    assert DATASETS.build("brats2018:target=wt").title == "BRATS 2018 (target=wt)"


def test_a_name_may_be_one_of_a_module():
    assert split("their.module:own:target=wt") == ("their.module:own", {"target": "wt"})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("brats2018:target=x", "option 'target' is 'x'; expected one of: et, tc, wt"),
        ("brats2018:grade=IV", "option 'grade' is 'IV'; expected one of: HGG, LGG, all"),
        ("brats2018:size=3", "no option 'size'; it has: target, grade"),
        ("brats2018:target=", "'target=' is no option; expected NAME:KEY=VALUE"),
        ("brats2018:target=wt:HGG", "'HGG' is no option; expected NAME:KEY=VALUE"),
        ("brats:target=wt", "unknown data set 'brats'"),
    ],
)
def test_a_wrong_option_is_one_line(name: str, expected: str):
    with pytest.raises(StudyError) as error:
        DATASETS.build(name)
    assert expected in str(error.value) and "\n" not in str(error.value)


def test_each_choice_of_each_data_set_can_be_built():
    for name in DATASETS.names():
        for option, values in DATASETS.choices(name).items():
            for value in values:
                assert DATASETS.build(name, **{option: value}).modalities
        assert all(DATASETS.expectations(name).values())
    assert DATASETS.expectations("isles2018") == {"patients": "a CSV file with the columns case and patient"}


def test_options_of_other_packages_are_described_where_their_types_are_known():
    registry: Datasets = Datasets("data set")

    @registry.register
    def theirs(*, size: Annotated[str, "a number"] = "1", kind: Literal["a", "b"] = "a", plain: str = "") -> None: ...

    @registry.register
    def untyped(*, size: "Elsewhere" = "1") -> None: ...  # noqa: F821  # as imported for types only

    assert registry.expectations("theirs") == {"size": "a number", "kind": "a, b", "plain": "any text"}
    assert registry.expectations("untyped") == {"size": "any text"}


def test_stores_of_other_options_are_others_by_name(tmp_path: Path):
    phantom.write_tree(tmp_path, patients=2, shape=(4, 32, 32))
    plain = prepare(DATASETS.build("brats2018"), tmp_path)
    whole = prepare(DATASETS.build("brats2018", target="wt"), tmp_path)
    assert stores.find("brats2018").hash == plain.hash
    assert stores.find("brats2018:target=wt").hash == whole.hash != plain.hash
    with pytest.raises(
        DataError, match=r"run: python -m pam.prepare brats2018:target=tc --source DIR \(prepared: brats2018"
    ):
        stores.find("brats2018:target=tc")


def test_who_counts_as_a_patient_is_no_part_of_the_name(tmp_path: Path):
    assert DATASETS.build("isles2018", patients=str(tmp_path / "a.csv")).name == "isles2018"


def test_the_grade_of_2020_is_read_from_its_table(tmp_path: Path):
    cases = ["BraTS20_Training_001", "BraTS20_Training_002"]
    for case in cases:
        (tmp_path / case).mkdir()
        for ending in ("t1", "t2", "t1ce", "flair", "seg"):
            (tmp_path / case / f"{case}_{ending}.nii.gz").touch()
    assert len(DATASETS.build("brats2020").find_cases(tmp_path)) == 2
    with pytest.raises(DataError, match=r"name_mapping.csv: cannot be read"):
        DATASETS.build("brats2020:grade=LGG").find_cases(tmp_path)
    table = tmp_path / "name_mapping.csv"
    table.write_text(f"Grade,BraTS_2020_subject_ID\nHGG,{cases[0]}\n")
    with pytest.raises(DataError, match=r"no row for BraTS20_Training_002 \(cases without one: 1\)"):
        DATASETS.build("brats2020:grade=LGG").find_cases(tmp_path)
    table.write_text(f"Grade,BraTS_2020_subject_ID\nHGG,{cases[0]}\nLGG,{cases[1]}\n")
    assert [case.case for case in DATASETS.build("brats2020:grade=LGG").find_cases(tmp_path)] == cases[1:]
    table.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="expected a CSV with the columns Grade and BraTS_2020_subject_ID"):
        DATASETS.build("brats2020:grade=HGG").find_cases(tmp_path)
