"""`python -m pam.receptive_fields`."""

from __future__ import annotations

import csv

import pandas as pd
import pytest
import torch

from pam import checkpoints, ledger, networks
from pam.cli import guarded
from pam.networks.receptive_field import receptive_fields
from pam.receptive_fields import main

QUICK = ["--width", "2", "--size", "16", "--inputs", "2"]


def test_it_writes_a_table_and_a_figure_per_network(tmp_path, capsys):
    assert main(["fpa", "unet", *QUICK, "--out", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "table.md", "table.csv", "fpa.png", "fpa.svg", "unet.png", "unet.svg"
    }  # fmt: skip
    rows = list(csv.DictReader((tmp_path / "table.csv").open()))
    bridge = [row["branch"] for row in rows if row["network"].startswith("fpa,") and row["stage"] == "bridge"]
    assert bridge == ["main", "attention", "output"]
    assert capsys.readouterr().out.strip() == (tmp_path / "table.md").read_text().strip()


def test_the_same_command_writes_the_same_bytes(tmp_path):
    for folder in ("a", "b"):
        main(["aunet", *QUICK, "--out", str(tmp_path / folder)])
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "error: nothing to measure: name networks (aunet, "),
        (["fpb"], "error: unknown network 'fpb'; there are: aunet, "),
        (["--cell", "0123"], "no such entry; run the sweep to train this cell"),
        (["unet", "--size", "20"], "the next size is 24×24"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, said, tmp_path, capsys):
    assert guarded(main, [*arguments, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_finished_cell_is_measured_with_its_trained_weights(tmp_path, capsys):
    network = networks.build("rfna", 2, width=2, ratio=4, generator=torch.Generator().manual_seed(7))
    checkpoints.finish("0123abcd", network.state_dict())
    ledger.write(
        ledger.Entry(
            cell={"id": "0123abcd", "label": "RFNA", "network": "rfna", "options": {"width": 2, "ratio": 4}},
            provenance={"data": {"title": "Phantom", "phantom": True, "modalities": ["T1", "T2"]}},
            slices=pd.DataFrame({"slice": [0]}),
            cases=pd.DataFrame({"case": ["a"]}),
            epochs=pd.DataFrame({"epoch": [1]}),
        )
    )
    assert main(["--cell", "0123abcd", *QUICK, "--out", str(tmp_path)]) == 0
    assert (tmp_path / "rfna_0123abcd.png").exists()
    assert "| RFNA, trained on Phantom (PHANTOM), cell 0123abcd | bridge | attention |" in capsys.readouterr().out
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 2, 16, 16, generator=generator)
    expected = receptive_fields(network, images, generator)[-1]
    assert f"| head | output | {expected.area_px()} | {expected.spread_px:.2f} |" in (tmp_path / "table.md").read_text()
