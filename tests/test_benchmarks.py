"""What benchmarks write: rows with their targets, of which a new run replaces its own alone."""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parent / "benchmarks"


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that the scripts share, found as they find it."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import measured

    return measured


def lines(folder: Path) -> list[str]:
    return [line for line in (folder / "README.md").read_text().splitlines() if line.startswith("| ")]


def test_every_benchmark_is_run_by_the_one_command(measured):
    scripts = {path.stem for path in FOLDER.glob("*.py")} - {"__main__", "measured"}
    assert scripts - {"intervals"} == set(measured.BENCHMARKS)  # intervals measures coverage, and makes a page of it


def test_a_new_run_replaces_its_own_rows_and_no_others(measured, tmp_path):
    for name, what in (("hd95", "old"), ("feeding", "other"), ("hd95", "new")):
        measured.record(tmp_path, name, [measured.faster(what, [(2.0, 1.0), (6.0, 2.0)], least=4)], {"pairs": "2"})
    assert [line.split(" | ")[0] for line in lines(tmp_path)[1:]] == ["| other", "| new"]
    assert [*json.loads((tmp_path / "results.json").read_text())] == ["feeding", "hd95"]
    with (tmp_path / "pairs.csv").open() as file:
        found = [(row["what"], row["baseline_s"], row["pam_s"], row["value"]) for row in csv.DictReader(file)]
    assert found == [
        (what, *pair) for what in ("other", "new") for pair in (("2.0", "1.0", "2.0"), ("6.0", "2.0", "3.0"))
    ]


@pytest.mark.parametrize(
    ("target", "values", "met"),
    [
        ({"least": 2}, (1.9, 2.0, 9.0), True),
        ({"least": 2}, (1.9, 1.99, 9.0), False),
        ({"most": 1.1}, (1.0, 1.1, 5.0), True),
        ({"most": 1.1}, (1.0, 1.2, 5.0), False),
        ({}, (1.0,), None),
        ({"least": 2}, (), None),
    ],
)
def test_the_median_decides_whether_a_target_is_met(measured, target, values, met):
    assert measured.Row(what="step", values=values, **target).met is met


def test_what_was_not_measured_says_so(measured, tmp_path):
    measured.record(tmp_path, "gpu", [measured.Row(what="step", least=4, note="no GPU here")], {})
    assert lines(tmp_path)[-1] == "| step | ≥ 4 × | not measured. no GPU here |  | – | – | gpu |"


def test_the_two_ways_take_turns_at_going_first(measured):
    order: list[str] = []
    taken = list(measured.in_turns(lambda: order.append("plain"), lambda: order.append("pam"), 2))
    assert order == ["plain", "pam", "pam", "plain"]
    assert len(taken) == 2 and all(seconds >= 0 for pair in taken for seconds in pair)


def test_a_script_alone_puts_its_rows_into_the_table(tmp_path):
    small = ["--networks", "unet", "--size", "32", "--width", "4", "--batch", "2", "--pairs", "2"]
    command = [sys.executable, str(FOLDER / "train_step.py"), *small, "--record", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode in (0, 1), run.stderr  # 1: so small a step misses the target of a real one
    assert run.stdout.startswith("training step, CPU, batch 2 of 4×32×32, width 4: unet: ")
    assert "(2 pairs, " in lines(tmp_path)[-1]


def test_long_trainings_are_kept_and_only_those_of_one_processor_are_pairs(measured, tmp_path):
    import quality

    arguments = argparse.Namespace(kept=tmp_path / "kept", patients=2, batch=2, width=2, shrink=2, rate=0.1)
    of_seed = [[{"seed": seed, "path": path} for path in ("plain", "fast")] for seed in range(2)]
    first = quality.Trainings(arguments)
    for which in (*of_seed[0], of_seed[1][0]):
        first.add(which, 0.5)
    again = quality.Trainings(arguments)
    assert [again.to_do(paths) for paths in of_seed] == [[], of_seed[1][1:]]
    assert again.dice(of_seed[0][1]) == 0.5
    arguments.kept.write_text(arguments.kept.read_text().replace(again.cpu(of_seed[0][0]), "another"))
    elsewhere = quality.Trainings(arguments)
    assert [elsewhere.to_do(paths) for paths in of_seed] == [[], of_seed[1]]
    arguments.rate = 0.2
    assert quality.Trainings(arguments).to_do(of_seed[0]) == of_seed[0]


def test_each_way_to_a_faster_step_is_held_against_ours(tmp_path):
    small = ["--networks", "fpa", "--size", "16", "--width", "2", "--batch", "2", "--pairs", "1", "--backend", "eager"]
    command = [sys.executable, str(FOLDER / "ways.py"), *small, "--record", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    found = [line.split(" | ")[4] for line in lines(tmp_path)[1:]]
    changed = ["float32 instead of bfloat16 autocast", "channels-last maps", "AdamW that is not fused"]
    assert found == [*changed, "torch's dilated depth-wise kernels", "compiled"]


@pytest.mark.timeout(600)  # seconds of work, in processes that a busy machine starts slowly
def test_the_gpu_benchmark_runs_from_end_to_end_where_there_is_no_gpu(tmp_path):
    step = ["--networks", "unet", "--batch", "2", "--size", "32", "--width", "4", "--probe", "64", "--backend", "eager"]
    packed = ["--packed", "fpa", "--packed-batch", "2", "--packed-size", "32", "--packed-width", "4", "--cells", "2"]
    packed += ["--steps", "2"]
    command = [sys.executable, str(FOLDER / "gpu.py"), "--cpu", *step, *packed, "--pairs", "1", "--threads", "1"]
    run = subprocess.run([*command, "--record", str(tmp_path)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr  # what it holds is that fused cells learn as lone ones do
    found = [line.split(" | ") for line in lines(tmp_path)[1:]]
    assert [line[1] for line in found] == ["–", "–", "–", "–", "–", "–", "≤ 0.001"]
    assert found[-1][3] == "met"
    assert all("not measured" not in line[2] for line in found)
