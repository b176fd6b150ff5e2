"""Carried results keep every bit; damaged, changed and foreign ones are refused in one line and nothing is written."""

from __future__ import annotations

import gzip
import json
import math
import shutil
from dataclasses import asdict

import pytest

from pam import carry, intake, ledger
from pam.cli import guarded
from pam.errors import ResultsError
from pam.result import Result
from pam.study import RESULTS_VERSION, Cell
from pam.track.__main__ import main

CELL = Cell(
    label="unet – 3×3",
    network="unet",
    options={"width": 8},
    recipe={"augment": ("horizontal_flip", "affine"), "learning_rate": 0.1},
    fold=1,
    seed=0,
    data_hash="d" * 16,
    split_hash="s" * 16,
)


def result(**changes: object) -> Result:
    names = {"patient": "p1", "case": "c1"}
    return Result(
        cell={"id": CELL.id, **asdict(CELL)},
        provenance={"git_commit": "e15de6a", "peak_gpu_memory_mb": None},
        slices=[{**names, "slice": 3, "dice": 1 / 3, "hd95_px": math.nan}, {**names, "slice": 4, "dice": 5e-324}],
        cases=[{**names, "dice": 0.1 + 0.2, "state": "both"}],
        epochs=[{"epoch": 1, "loss": 0.5}],
        predictions=[{**names, "slice": 3, "height": 1, "width": 8, "mask": b"\x00\xff"}],
        attention=[],
        **changes,
    )


@pytest.fixture
def carried(tmp_path):
    whole = result()
    whole.slices[1]["hd95_px"] = 2.0
    return carry.write(whole, tmp_path / "carried")


def rewrite(path, change):
    document = json.loads(gzip.decompress(path.read_bytes()))
    change(document)
    path.write_bytes(gzip.compress(json.dumps(document).encode()))


def rehashed(change):
    """A change by someone who computes the hash anew."""

    def changed(document):
        document.pop("sha256")
        change(document)
        document["sha256"] = carry._hash(document)

    return changed


def test_what_is_read_is_what_was_written_to_the_last_bit(carried):
    read = carry.read(carried)
    assert math.isnan(read.slices[0].pop("hd95_px"))
    expected = result()
    expected.slices[0].pop("hd95_px")
    expected.slices[1]["hd95_px"] = 2.0
    assert (read.slices, read.cases, read.epochs) == (expected.slices, expected.cases, expected.epochs)
    assert (read.predictions, read.attention) == (expected.predictions, [])
    assert read.provenance == expected.provenance


def test_the_same_result_is_the_same_file(carried, tmp_path):
    again = carry.write(carry.read(carried), tmp_path / "again")
    assert again.read_bytes() == carried.read_bytes()


def test_a_carried_file_becomes_the_entry_that_training_here_would_have_written(carried, monkeypatch, tmp_path):
    assert intake.take([carried.parent]).added == (CELL.id,)
    whole = result()
    whole.slices[1]["hd95_px"] = 2.0
    taken = {path.name: path.read_bytes() for path in ledger.folder(CELL.id).iterdir() if path.suffix == ".parquet"}
    monkeypatch.setenv("PAM_HOME", str(tmp_path / "other"))
    ledger.add(whole)
    written = {path.name: path.read_bytes() for path in ledger.folder(CELL.id).iterdir() if path.suffix == ".parquet"}
    assert taken == written
    assert sorted(taken) == ["cases.parquet", "epochs.parquet", "predictions.parquet", "slices.parquet"]


def test_a_cell_that_is_there_stays(carried):
    intake.take([carried])
    before = ledger.read_provenance(CELL.id)
    again = intake.take([carried])
    assert (again.added, again.there) == ((), (CELL.id,))
    assert ledger.read_provenance(CELL.id) == before


def test_entries_of_another_ledger_are_taken_with_their_evidence(carried, tmp_path, monkeypatch):
    intake.take([carried])
    shutil.move(ledger.folder(CELL.id).parent, tmp_path / "other")
    assert not ledger.has(CELL.id)
    assert intake.take([tmp_path / "other"]).added == (CELL.id,)
    assert ledger.evidence(CELL.id, "predictions") is not None
    table = tmp_path / "other" / CELL.id / "predictions.parquet"
    table.write_bytes(table.read_bytes()[:-4])
    ledger.remove(CELL.id)
    with pytest.raises(ResultsError, match=r"predictions\.parquet: its checksum differs"):
        intake.take([tmp_path / "other"])
    assert not ledger.has(CELL.id)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["tables"]["slices"]["dice"].__setitem__(0, 0.9), "does not have the hash it states"),
        (lambda d: d["provenance"].update(git_commit="other"), "does not have the hash it states"),
        (lambda d: d.pop("tables"), "not a carried cell"),
        (rehashed(lambda d: d["cell"].update(seed=1)), f"cell {CELL.id}, but its description has the id"),
        (rehashed(lambda d: d["cell"].update(id="../../x")), "cell ../../x, but its description has the id"),
        (rehashed(lambda d: d["cell"].pop("seed")), "not a cell's description"),
        (
            rehashed(lambda d: d.update(results_version=RESULTS_VERSION + 1)),
            f"RESULTS_VERSION {RESULTS_VERSION + 1}; ex",
        ),
    ],
)
def test_what_is_damaged_changed_or_foreign_is_refused_in_one_line(change, said, carried, capsys, pam_home):
    rewrite(carried, change)
    assert guarded(main, ["import", str(carried.parent)]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert str(carried) in error
    assert not (pam_home / "ledger").exists()


def test_one_bad_file_among_good_ones_stops_all(carried, tmp_path):
    (carried.parent / "bad.cell.json.gz").write_bytes(carried.read_bytes()[:50])
    with pytest.raises(ResultsError, match=r"bad\.cell\.json\.gz: not a carried cell"):
        intake.take([carried.parent])
    assert not ledger.has(CELL.id)


def test_a_folder_without_results_is_named(tmp_path):
    with pytest.raises(ResultsError, match="no carried cell and no ledger entry in it"):
        intake.take([tmp_path])
