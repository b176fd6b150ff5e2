"""The ledger keeps what was scored, whole or not at all, and says what is wrong with a damaged entry."""

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pam import ledger
from pam.data.view import packed, unpacked
from pam.errors import ResultsError
from pam.evaluate import in_unit
from pam.metrics import score, score_slices


def entry(cell_id: str = "0123abcd", seed: int = 0, slices: int = 9) -> ledger.Entry:
    prediction, target = (
        np.random.default_rng(seed).random((2, slices, 6, 6)) < np.linspace(0, 0.6, slices)[:, None, None]
    )
    names = {"patient": f"patient {seed}", "case": f"case {seed}"}
    rows = [
        {**names, "slice": number, **in_unit(scores, "px")}
        for number, scores in enumerate(score_slices(prediction, target))
    ]
    case = {**names, **in_unit(score(prediction, target, (5.0, 1.0, math.nan)), "mm")}
    return ledger.Entry(
        cell={"id": cell_id, "label": "unet – 3×3", "options": {"width": 8}},
        provenance={"git_commit": "e15de6a", "parameters": 12},
        slices=pd.DataFrame(rows),
        cases=pd.DataFrame([case]),
        epochs=pd.DataFrame({"epoch": [1, 2], "loss": [0.5, 0.25], "seconds": [1.5, 1.0]}),
    )


def test_what_is_read_is_what_was_written_to_the_last_bit() -> None:
    written = entry()
    ledger.write(written)
    read = ledger.read("0123abcd")
    assert (read.cell, read.provenance) == (written.cell, written.provenance)
    for table in ledger.TABLES:
        pd.testing.assert_frame_equal(
            getattr(read, table), getattr(written, table), check_exact=True, check_dtype=False, check_categorical=False
        )


def test_tables_are_stored_compactly() -> None:
    ledger.write(entry())
    types = ledger.read("0123abcd").slices.dtypes
    assert all(isinstance(types[name], pd.CategoricalDtype) for name in ("patient", "case", "state"))
    assert types["tp"] == np.int32
    assert types["dice"] == np.float64


def test_the_same_entry_gives_the_same_bytes(pam_home: Path) -> None:
    ledger.write(entry())
    first = {path.name: path.read_bytes() for path in ledger.folder("0123abcd").iterdir()}
    ledger.remove("0123abcd")
    ledger.write(entry())
    assert {path.name: path.read_bytes() for path in ledger.folder("0123abcd").iterdir()} == first
    assert sorted(first) == ["cases.parquet", "cell.json", "epochs.parquet", "slices.parquet"]
    assert [path.name for path in (pam_home / "ledger").iterdir()] == ["0123abcd"]


def test_a_cell_is_done_exactly_while_its_entry_is_there() -> None:
    assert not ledger.has("0123abcd")
    ledger.write(entry())
    assert ledger.has("0123abcd")
    ledger.remove("0123abcd")
    assert not ledger.has("0123abcd")
    ledger.remove("0123abcd")  # nothing left to do is no error


def test_a_folder_without_cell_json_is_no_entry_and_is_written_over() -> None:
    ledger.write(entry())
    (ledger.folder("0123abcd") / "cell.json").unlink()
    assert not ledger.has("0123abcd")
    ledger.write(entry())
    assert len(ledger.read("0123abcd").slices) == 9


def test_the_first_of_two_writers_wins() -> None:
    ledger.write(entry(seed=0))
    ledger.write(entry(seed=1))
    assert set(ledger.read("0123abcd").slices.patient) == {"patient 0"}


def test_an_entry_that_cannot_be_written_leaves_nothing(pam_home: Path) -> None:
    wrong = entry()
    wrong.provenance["loss"] = math.nan
    with pytest.raises(ValueError, match="not JSON compliant"):
        ledger.write(wrong)
    assert list((pam_home / "ledger").iterdir()) == []


def test_a_writer_killed_midway_leaves_no_entry() -> None:
    program = (
        "import os, signal, pam.ledger as ledger, pandas as pd\n"
        "class Deadly(dict):\n"
        "    def items(self): os.kill(os.getpid(), signal.SIGKILL)\n"
        "one = pd.DataFrame({'patient': ['p'], 'dice': [0.5]})\n"
        "ledger.write(ledger.Entry(cell={'id': 'dead'}, provenance=Deadly(a=1), slices=one, cases=one, epochs=one))\n"
    )
    died = subprocess.run([sys.executable, "-c", program], env=dict(os.environ), check=False)
    assert died.returncode == -signal.SIGKILL
    assert not ledger.has("dead")
    assert not ledger.folder("dead").exists()


def test_tables_of_several_cells_come_in_the_order_asked_for() -> None:
    for seed, cell_id in enumerate(("first", "second")):
        ledger.write(entry(cell_id, seed))
    both = ledger.read_many(["second", "first"], columns=["patient", "dice"])
    assert list(both.columns) == ["cell_id", "patient", "dice"]
    assert both.cell_id.tolist() == ["second"] * 9 + ["first"] * 9
    assert both.patient.tolist() == ["patient 1"] * 9 + ["patient 0"] * 9
    assert len(ledger.read_many(["first"], "epochs")) == 2


def test_a_cell_that_is_not_there_is_named() -> None:
    with pytest.raises(ResultsError, match=r"nowhere/cell\.json: no such entry; run the sweep"):
        ledger.read("nowhere")


def break_table(folder: Path) -> None:
    table = folder / "slices.parquet"
    table.write_bytes(table.read_bytes()[:-20])


def lose_table(folder: Path) -> None:
    (folder / "slices.parquet").unlink()


def break_description(folder: Path) -> None:
    (folder / "cell.json").write_text('{"cell": {')


def swap_description(folder: Path) -> None:
    document = json.loads((folder / "cell.json").read_text())
    document["cell"]["id"] = "other"
    (folder / "cell.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (break_table, r"slices\.parquet: its checksum differs from the one in cell\.json"),
        (lose_table, r"slices\.parquet: missing"),
        (break_description, r"cell\.json: not a cell's description"),
        (swap_description, r"cell\.json: describes cell other"),
    ],
)
def test_a_damaged_entry_is_named_with_what_to_do(damage, found: str) -> None:
    ledger.write(entry())
    damage(ledger.folder("0123abcd"))
    for read in (lambda: ledger.read("0123abcd"), lambda: ledger.read_many(["0123abcd"])):
        with pytest.raises(
            ResultsError, match=rf"{found}.*; the entry is damaged: delete .*0123abcd and run the sweep"
        ):
            read()


def test_a_column_that_no_table_has_is_an_error() -> None:
    ledger.write(entry())
    with pytest.raises(ResultsError, match="no column 'hd100'"):
        ledger.read_many(["0123abcd"], columns=["hd100"])


def test_an_entry_from_before_a_score_was_stored_still_reads_and_is_named() -> None:
    older = entry("older")
    ledger.write(replace(older, cases=older.cases.drop(columns="assd_mm")))
    ledger.write(entry("newer", seed=1))
    both = ledger.read_many(["older", "newer"], "cases", ["patient"], later=["assd_mm", "diagonal_mm"])
    assert list(both.columns) == ["cell_id", "patient", "assd_mm", "diagonal_mm"]
    assert math.isnan(both.assd_mm.iloc[0])
    assert ledger.lacking(["older", "newer"], "cases", ["assd_mm", "diagonal_mm"]) == {"assd_mm": ["older"]}
    assert "assd_mm" not in ledger.read("older").cases


def test_evidence_is_read_apart_and_to_the_last_bit() -> None:
    mask = np.random.default_rng(0).random((5, 7)) < 0.5
    predictions = pd.DataFrame([{"case": "a", "slice": 3, "height": 5, "width": 7, "mask": packed(mask)}])
    maps = pd.DataFrame([{"case": "a", "module": "bridge", "values": np.float16([0.1, 0.9]).tobytes()}])
    ledger.write(replace(entry(), predictions=predictions, attention=maps))
    row = ledger.evidence("0123abcd", "predictions").iloc[0]
    assert np.array_equal(unpacked(row["mask"], row.height, row.width), mask)
    assert np.array_equal(
        np.frombuffer(ledger.evidence("0123abcd", "attention")["values"].iloc[0], np.float16), np.float16([0.1, 0.9])
    )
    assert ledger.read("0123abcd").predictions is None


def test_an_entry_from_before_evidence_was_kept_still_reads_and_has_none() -> None:
    ledger.write(entry())
    assert ledger.evidence("0123abcd", "predictions") is None
    assert len(ledger.read("0123abcd").slices) == 9


def test_damaged_evidence_is_named() -> None:
    ledger.write(replace(entry(), predictions=pd.DataFrame({"mask": [b"0"]})))
    path = ledger.folder("0123abcd") / "predictions.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ResultsError, match=r"predictions\.parquet: its checksum differs"):
        ledger.evidence("0123abcd", "predictions")
